"""The queue in RabbitMQ: the contract of all brokers, and what only this one has."""

import uuid
from urllib.parse import urlencode

import pytest

from tests.ragline.broker.contract import BrokerContract, MakeUrl
from tests.servers.rabbitmq import RabbitmqServer


class TestAmqpBroker(BrokerContract):
    keeps_order_over_retries = False

    @pytest.fixture
    def make_url(self, rabbitmq_server: RabbitmqServer) -> MakeUrl:
        prefix = f"{uuid.uuid4().hex}-"
        return lambda **options: f"{rabbitmq_server.url}?{urlencode({'prefix': prefix, **options})}"
