#!/bin/sh
# Replaces the replicas of one service without a gap: new ones beside the old, then the old ones stop and drain.
#
#   docker compose build reranker && deploy/upgrade.sh reranker
#
# `docker compose up` stops all replicas before it starts their successors. Run it in the folder of the compose file.
set -eu

service=${1:?name a service, such as reranker}
wait_s=${2:-120}
found_s=10

case $service in
retriever)
    echo "the retriever's files have one writer, so there is no second one beside it: docker compose up -d --no-deps $service" >&2
    exit 2
    ;;
preprocess | preprocess-worker | reranker | generator | generator-worker) ;;
*)
    echo "$service has no replicas: docker compose up -d --no-deps $service" >&2
    exit 2
    ;;
esac

old=$(docker compose ps -q "$service")
count=$(printf '%s\n' "$old" | grep -c . || true)
if [ "$count" = 0 ]; then
    echo "no $service is running: docker compose up -d $service" >&2
    exit 2
fi
docker compose up -d --no-deps --no-recreate --scale "$service=$((count * 2))" "$service"

# new: the ids that were not there before
new=$(docker compose ps -q "$service" | grep -vxF "$old")
left=$wait_s
for id in $new; do
    until [ "$(docker inspect -f '{{.State.Health.Status}}' "$id")" = healthy ]; do
        left=$((left - 1))
        if [ "$left" -le 0 ]; then
            echo "the new $service is not healthy after $wait_s s; the old goes on, and these are taken away again" >&2
            docker logs --tail 20 "$id" >&2
            # shellcheck disable=SC2086 # one word an id
            docker rm -f $new >/dev/null
            exit 1
        fi
        sleep 1
    done
done

# NGINX and the gRPC clients find a new replica within this time; only then is it able to stand in.
sleep "$found_s"
# One after the other: a request that meets one on its way out is sent to another, a few times and not without end.
for id in $old; do
    docker stop "$id" >/dev/null
    docker rm "$id" >/dev/null
    sleep 2
done
echo "$service: $count replaced"
