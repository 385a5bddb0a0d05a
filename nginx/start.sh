#!/bin/sh
# Starts the door: renders the templates beside this file, runs nginx in the foreground and follows the services.
#
# nginx resolves the names in its configuration once, and does not start where one is unknown. So it is given
# addresses only: each round asks for the addresses of every service, and where they changed writes them down and
# has nginx reload, which drops no request and no stream. An unknown service keeps nobody but itself from working.
#
# Signals: TERM, INT and QUIT let requests in progress end (NGINX_DRAIN_S), HUP renders the templates again.
# Exit status: 2 for a bad setting, else that of nginx.

set -u
LC_ALL=C
export LC_ALL

here=$(cd "$(dirname "$0")" && pwd)
services="preprocess retriever reranker generator"
misses_allowed=1  # a replica in use is left out when it misses more probes in a row
ask_s=5           # longest that one name may take to resolve

# tell LEVEL TEXT: one line of the log, in the form of the services
tell() {
    printf '{"event":"%s","level":"%s","logger":"nginx","timestamp":"%s"}\n' \
        "$(printf %s "$2" | tr -d '"\\' | tr '\n\t' '  ')" "$1" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" >&2
}

# refuse TEXT: end for a bad setting
refuse() {
    tell error "$1"
    exit 2
}

# read_settings: every setting of settings.env into the environment, unless it has a value there
read_settings() {
    known=""
    while IFS= read -r line || [ -n "$line" ]; do
        case $line in '' | '#'*) continue ;; esac
        name=${line%%=*}
        eval "given=\${$name:-}"
        [ -n "$given" ] || given=${line#*=}
        export "$name=$given"
        known="$known $name"
    done <"$here/settings.env"
}

# check_names: no setting is misspelt; what the image and Kubernetes set of their own accord is let be
check_names() {
    for name in $(env | sed -n 's/^\(NGINX_[A-Za-z0-9_]*\)=.*/\1/p'); do
        case $name in
        NGINX_VERSION | NGINX_ENVSUBST_* | NGINX_ENTRYPOINT_* | NGINX_SERVICE_* | NGINX_PORT_*) continue ;;
        esac
        case "$known " in *" $name "*) ;; *) refuse "$name is no setting; known are$known." ;; esac
    done
}

# check_values: nothing can be anything but the value of a directive; numbers are numbers, addresses have a port
check_values() {
    for name in $known; do
        [ "$name" = NGINX_RESOLVE ] && continue  # a command, which is not rendered
        eval "value=\$$name"
        case $value in
        *[!]A-Za-z0-9\ ._:/,@%+=~[-]*) refuse "$name=$value is no good: it has signs that nginx would misread." ;;
        esac
    done
    for name in NGINX_PORT NGINX_TLS_PORT NGINX_TLS_PUBLIC_PORT; do check_number "$name" 1 65535; done
    for name in NGINX_RESOLVE_S NGINX_RATE NGINX_CLIENT_CONNECTIONS NGINX_WORKERS \
        NGINX_READ_TIMEOUT_S NGINX_STREAM_TIMEOUT_S NGINX_KEEP_S RAGLINE_MAX_BODY_MB NGINX_MAX_BATCH_MB; do
        check_number "$name" 1 1000000
    done
    for name in NGINX_BURST NGINX_DRAIN_S NGINX_PROBE_S; do check_number "$name" 0 1000000; done
    check_number NGINX_HSTS_S 0 999999999
    check_number NGINX_CONNECTIONS 64 1000000
    for service in $services; do
        for address in $(address_of "$service"); do
            case ${address##*:} in '' | *[!0-9]*) refuse "$address is no host:port of $service." ;; esac
            case $address in ?*:*) ;; *) refuse "$address is no host:port of $service." ;; esac
        done
    done
    check_certificate
}

# check_number NAME LEAST MOST
check_number() {
    eval "value=\$$1"
    case $value in
    *[!0-9]* | ??????????*) ;;
    *) [ "$value" -ge "$2" ] && [ "$value" -le "$3" ] && return ;;
    esac
    refuse "$1=$value is no good: a whole number from $2 to $3 is wanted."
}

# check_certificate: both files or none
check_certificate() {
    [ -n "$NGINX_TLS_CERT$NGINX_TLS_KEY" ] || return 0
    for name in NGINX_TLS_CERT NGINX_TLS_KEY; do
        eval "value=\$$name"
        [ -n "$value" ] || refuse "$name is not set; a certificate needs its key, and a key its certificate."
        [ -r "$value" ] || refuse "$name=$value is no good: there is no such file that can be read."
    done
}

# address_of SERVICE: its host:port, as set
address_of() {
    eval "printf '%s\n' \"\$NGINX_$(printf %s "$1" | tr a-z A-Z)_ADDRESS\""
}

# derive: the placeholders that are no settings
derive() {
    [ -n "$NGINX_WEB_DIR" ] || export NGINX_WEB_DIR="${here%/*}/web"
    [ -r "$NGINX_WEB_DIR/index.html" ] || tell warning "There is no page in $NGINX_WEB_DIR; NGINX_WEB_DIR names its folder."
    version=$(nginx -v 2>&1 | sed 's|.*nginx/||; s/[^0-9.].*//')
    number=$(printf %s "$version" | awk -F. '{ print $1 * 1000000 + $2 * 1000 + $3 }')
    export NGINX_USER_LINE="" NGINX_LISTEN_HTTP2="" NGINX_HTTP2_LINE="http2 on;" NGINX_TLS_PORT_SEEN=""
    if [ -n "$NGINX_USER" ] && [ "$(id -u)" = 0 ]; then NGINX_USER_LINE="user $NGINX_USER;"; fi
    if [ "$number" -lt 1025001 ]; then NGINX_LISTEN_HTTP2=" http2" NGINX_HTTP2_LINE=""; fi
    if [ "$NGINX_TLS_PUBLIC_PORT" != 443 ]; then NGINX_TLS_PORT_SEEN=":$NGINX_TLS_PUBLIC_PORT"; fi
}

# render_all: every template, and the parts that depend on lists and on the version of nginx
render_all() {
    for name in nginx values headers problems errors proxy door; do
        render "$here/$name.conf.template" "$run/$name.conf" || return 1
    done
    kind=plain
    if [ -n "$NGINX_TLS_CERT" ]; then kind=tls; fi
    render "$here/$kind.conf.template" "$run/servers.conf" || return 1
    {
        echo 'geo $realip_remote_addr $trusted_proxy {'
        echo '    default 0;'
        for network in $NGINX_TRUSTED_PROXIES; do echo "    $network 1;"; done
        echo '}'
        for network in $NGINX_TRUSTED_PROXIES; do echo "set_real_ip_from $network;"; done
        echo 'real_ip_header X-Forwarded-For;'
        echo 'real_ip_recursive on;'
        # An idle connection is not closed under a client that is about to send (known since 1.27.4).
        if [ "$number" -ge 1027004 ]; then echo 'keepalive_min_timeout 1s;'; fi
    } >"$run/generated.conf"
}

# render FROM TO: each ${NAME} replaced by the variable of that name
render() {
    awk '{
        rest = $0
        done = ""
        while (match(rest, /[$][{][A-Z0-9_]+[}]/)) {
            name = substr(rest, RSTART + 2, RLENGTH - 3)
            if (!(name in ENVIRON)) exit 1
            done = done substr(rest, 1, RSTART - 1) ENVIRON[name]
            rest = substr(rest, RSTART + RLENGTH)
        }
        print done rest
    }' "$1" >"$2" || { tell error "$1 names a variable that is not set."; return 1; }
}

# follow: one round over all services; true where an address came or went
follow() {
    for service in $services; do
        { find_addresses "$service" | sort -u >"$run/found/$service"; keep_living "$service"; } &
    done
    wait
    changed=1
    for service in $services; do
        list="$run/upstreams/$service.list"
        # A name that does not resolve (any more) is no reason to forget where the service was.
        if [ -s "$run/found/$service" ] && ! cmp -s "$run/found/$service" "$list"; then
            cp "$run/found/$service" "$list"
            write_upstream "$service"
            tell info "$service is at $(tr '\n' ' ' <"$list")"
            changed=0
        fi
    done
    return $changed
}

# find_addresses SERVICE: address:port, a line each
find_addresses() {
    for given in $(address_of "$1"); do
        host=${given%:*} port=${given##*:}
        case $host in
        \[*) printf '%s\n' "$given" ;;
        *[!0-9.]*) timeout "$ask_s" $NGINX_RESOLVE "$host" 2>/dev/null </dev/null | with_port "$port" ;;
        *) printf '%s\n' "$given" ;;
        esac
    done
}

# with_port PORT: what a resolver printed, as address:port
with_port() {
    while read -r address _; do
        case $address in
        '' | *[!0-9a-fA-F.:]*) ;;
        *:*:*) printf '[%s]:%s\n' "$address" "$1" ;;
        *:*) printf '%s\n' "$address" ;;
        *) printf '%s:%s\n' "$address" "$1" ;;
        esac
    done
}

# keep_living SERVICE: leave out replicas that do not answer, as a paused one does not; never the last
keep_living() {
    found="$run/found/$1"
    if [ "$probing" = no ] || [ "$(wc -l <"$found")" -lt 2 ]; then return; fi
    while read -r address; do
        probe "$1" "$address" &
    done <"$found"
    wait
    while read -r address; do
        missed=$(cat "$run/misses/$address" 2>/dev/null || echo 0)
        if [ "$missed" -le "$misses_allowed" ]; then printf '%s\n' "$address"; fi
    done <"$found" >"$found.living"
    if [ -s "$found.living" ]; then mv "$found.living" "$found"; fi
}

# probe SERVICE ADDRESS: count what it missed in a row; a new one must answer before it is used
probe() {
    if curl --silent --output /dev/null --max-time "$NGINX_PROBE_S" "http://$2/healthz"; then
        rm -f "$run/misses/$2"
    elif [ -e "$run/misses/$2" ] || ! grep -qxF "$2" "$run/upstreams/$1.list" 2>/dev/null; then
        echo 2 >"$run/misses/$2"
    else
        echo 1 >"$run/misses/$2"
    fi
}

# write_upstream SERVICE: its addresses as nginx reads them. A server that fails twice gets a pause of two seconds.
write_upstream() {
    if [ -s "$run/upstreams/$1.list" ]; then
        sed 's/.*/server & max_fails=2 fail_timeout=2s;/' "$run/upstreams/$1.list"
    else
        echo 'server 127.0.0.1:9 down;'
    fi >"$run/upstreams/$1.new"
    mv "$run/upstreams/$1.new" "$run/upstreams/$1.conf"
}

# fingerprint: changes when the certificate does
fingerprint() {
    [ -z "$NGINX_TLS_CERT" ] || cat "$NGINX_TLS_CERT" "$NGINX_TLS_KEY" 2>/dev/null | cksum
}

# watch: follow for as long as nginx runs
watch() {
    trap - TERM INT QUIT HUP
    seen=$(fingerprint)
    while sleep "$NGINX_RESOLVE_S" && kill -0 "$nginx" 2>/dev/null; do
        reload=no
        if follow; then reload=yes; fi
        now=$(fingerprint)
        if [ "$now" != "$seen" ]; then reload=yes seen=$now; fi
        if [ $reload = yes ]; then kill -HUP "$nginx"; fi
    done
}

# stop: let requests in progress end, for a while
stop() {
    kill -QUIT "$nginx" 2>/dev/null
    { sleep "$NGINX_DRAIN_S"; kill -TERM "$nginx" 2>/dev/null; } &
    timer=$!
}

# again: the templates or the files that they name are new
again() {
    if render_all; then kill -HUP "$nginx" 2>/dev/null; fi
}

read_settings
check_names
check_values
derive
run=$NGINX_RUN_DIR
mkdir -p "$run/temp" "$run/upstreams" "$run/found" "$run/misses" || refuse "NGINX_RUN_DIR=$run cannot be written to."
rm -f "$run/upstreams/"* "$run/found/"* "$run/misses/"*
probing=no
if [ "$NGINX_PROBE_S" -gt 0 ] && command -v curl >/dev/null; then probing=yes; fi
ulimit -n "$(ulimit -H -n)" 2>/dev/null
render_all || exit 1
for service in $services; do write_upstream "$service"; done
follow
for service in $services; do
    [ -s "$run/upstreams/$service.list" ] || tell warning "$service is nowhere yet: $(address_of "$service")"
done
nginx -t -q -p "$run" -e stderr -c "$run/nginx.conf" || exit 2

nginx -p "$run" -e stderr -c "$run/nginx.conf" -g 'daemon off;' &
nginx=$!
trap stop TERM INT QUIT
trap again HUP
watch &
watcher=$!
timer=""
status=0
while :; do
    wait "$nginx"
    status=$?
    kill -0 "$nginx" 2>/dev/null || break  # else a signal ended the waiting
done
kill "$watcher" $timer 2>/dev/null
exit "$status"
