import pytest

from ragline.addresses import joined, listening, split
from ragline.settings import SettingsError


@pytest.mark.parametrize(("host", "port", "text"), [("127.0.0.1", 80, "127.0.0.1:80"), ("::1", 80, "[::1]:80")])
def test_an_address_in_one_piece_and_in_two(host: str, port: int, text: str) -> None:
    assert joined(host, port) == text
    assert split(text) == (host, port)


@pytest.mark.parametrize("text", ["", "host", ":80", "host:", "host:http", "host:-1"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(SettingsError, match="is no address; write host:port"):
        split(text)


def test_a_port_is_had_once() -> None:
    with listening("127.0.0.1", 0, "LAMP_PORT") as first:
        port = first.getsockname()[1]
        with pytest.raises(
            SettingsError, match=rf"Cannot listen on 127\.0\.0\.1:{port}: .*; set LAMP_PORT to another"
        ):
            listening("127.0.0.1", port, "LAMP_PORT")
    listening("127.0.0.1", port, "LAMP_PORT").close()
