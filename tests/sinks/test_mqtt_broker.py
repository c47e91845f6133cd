"""Where a broker is, from a URL, and the password, which is not in it."""

import pytest

from unet_edge.errors import ConfigError
from unet_edge.sinks.mqtt_broker import PASSWORD_VARIABLE, Broker, read_password


@pytest.mark.parametrize(
    ("url", "broker"),
    [
        ("mqtt://broker", Broker("broker", 1883)),
        ("mqtts://broker/", Broker("broker", 8883, tls=True)),
        ("mqtt://me@10.0.0.1:99/a/b-c", Broker("10.0.0.1", 99, user="me", prefix="a/b-c")),
        ("mqtt://us%40er@[::1]:1884", Broker("::1", 1884, user="us@er")),
    ],
)
def test_a_url_names_host_port_user_and_prefix(url, broker):
    assert Broker.of_url(url) == broker


@pytest.mark.parametrize(
    "url",
    [
        *("broker", "http://broker", "mqtt://", "mqtt://broker:port", "mqtt://broker:70000"),
        *("mqtt://[::1", "mqtt://broker?ca=x", "me:secret@broker", "http://me:secret@"),
    ],
)
def test_another_url_is_refused_and_not_quoted(url):
    with pytest.raises(ConfigError, match="no URL of an MQTT broker") as error:
        Broker.of_url(url)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("path", ["a/#", "+", "a//b", "$SYS", "a b"])
def test_a_prefix_has_no_wildcards(path):
    with pytest.raises(ConfigError, match=r"prefix of topics|no URL"):
        Broker.of_url(f"mqtt://broker/{path}")


def test_a_password_is_neither_taken_from_a_url_nor_shown():
    with pytest.raises(ConfigError, match=PASSWORD_VARIABLE) as error:
        Broker.of_url("mqtt://me:secret@broker")
    assert "secret" not in str(error.value)
    broker = Broker.of_url("mqtt://me@broker", password="secret")
    assert broker.password == "secret"
    assert "secret" not in f"{broker!r} {broker}"
    with pytest.raises(ConfigError, match="name the user: mqtt://USER@broker"):
        Broker.of_url("mqtt://broker", password="secret")


def test_an_authority_needs_tls(tmp_path):
    with pytest.raises(ConfigError, match="write mqtts://"):
        Broker.of_url("mqtt://broker", ca=tmp_path / "ca.pem")


def test_the_password_is_in_a_file_or_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv(PASSWORD_VARIABLE, raising=False)
    assert read_password(None) is None
    monkeypatch.setenv(PASSWORD_VARIABLE, "from the environment")
    assert read_password(None) == "from the environment"
    file = tmp_path / "password"
    file.write_text("from a file \n")
    assert read_password(file) == "from a file "
    file.write_text("\n")
    with pytest.raises(ConfigError, match="is empty"):
        read_password(file)
    with pytest.raises(ConfigError, match=r"cannot read the password in .*No such file"):
        read_password(tmp_path / "none")
