"""No secret of an address is ever shown: for every shape of address that Apprise knows, and for odd ones."""

import doctest
import io
import logging
import re
import string
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from told import a_message

from tracewatch.channels import mask, masking, open_channel, without_secrets
from tracewatch.errors import DeliveryFailed, DeliveryRefused, UnknownChannel

LETTERS = string.ascii_letters + string.digits
SECRETS = st.text(LETTERS, min_size=8, max_size=24).map(lambda text: f"s3{text}")
ODD = st.text(min_size=8, max_size=20)


@pytest.fixture
def heard(capfd):
    """What a program that logs everything writes down, with all that is printed."""
    lines = io.StringIO()
    handler, root = logging.StreamHandler(lines), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(0)
    yield lambda: f"{lines.getvalue()}{''.join(capfd.readouterr())}".lower()
    root.removeHandler(handler)
    root.setLevel(level)


def shapes():
    """Every template of every service: its schema, and its tokens with whether they are private."""
    from apprise.manager_plugins import NotificationManager

    for plugin in NotificationManager().plugins():
        protocols = plugin.secure_protocol or plugin.protocol
        schema = protocols if isinstance(protocols, str) else next(iter(protocols))
        for template in plugin.templates:
            yield f"{template}".replace("{schema}", schema)


SHAPES = sorted(set(shapes()))


def test_there_are_shapes_to_try():
    assert len(SHAPES) > 300


@given(st.data())
def test_of_every_shape_that_apprise_knows_no_token_is_shown(data):
    shape = data.draw(st.sampled_from(SHAPES))
    tokens = {name: f"{name}{data.draw(SECRETS)}" for name in re.findall(r"{(\w+)}", shape)}
    url = shape.format(**tokens) + "?token=of-the-query" + data.draw(SECRETS)
    shown = mask(url)
    visible = {"host"} if shape.startswith(("mailto", "mailtos")) else set()
    for name, secret in tokens.items():
        assert name in visible or secret.lower() not in shown.lower(), (shape, name)
    assert url.rpartition("=")[2] not in shown


@given(SECRETS, SECRETS, ODD)
def test_nothing_but_the_host_of_a_web_address_is_shown(user, password, odd):
    for hidden in (password, quote(odd, safe=""), odd.replace("@", "a"), "123/" + password, "1@2/3" + password):
        for scheme in ("https", "webhook+https", "http", "slack+https", "mailtos"):
            url = f"{scheme}://{user}:{hidden}@h.example.com/{user}?secret={hidden}"
            shown = mask(url)
            assert user not in shown
            assert hidden not in shown
            assert len(shown) < 60


@given(SECRETS, SECRETS, st.sampled_from([str.upper, str.lower, quote, str]))
def test_texts_lose_every_piece_of_an_address(path, secret, spoken):
    url = f"https://h.example.com/{path}/x?secret={secret}&a=b"
    text = without_secrets(f"POST {url} failed: {spoken(secret)} at /{spoken(path)} of h.example.com", url)
    assert path.lower() not in text.lower()
    assert secret.lower() not in text.lower()
    assert "h.example.com" in text
    assert "failed" in text


def test_two_channels_of_one_host_are_told_apart_and_the_same_is_the_same():
    one, other = mask("https://h.example.com/a"), mask("https://h.example.com/b")
    assert one != other
    assert one == mask(" https://h.example.com/a ")
    assert one.startswith("https://h.example.com/… (")


def test_what_is_no_address_is_not_shown_at_all():
    for text in ("hunter2-secret", "s3cret!://hunter2-secret", "", "://"):
        assert re.fullmatch(r"… \([0-9a-f]{4}\)", mask(text))


@pytest.mark.parametrize(
    "url",
    [
        "slack://xoxz-s3cretword/x",
        "pagerduty://s3cretword",
        "mailto://me:s3cretword@",
        "discord://s3cretword",
        "nosuch://s3cretword/more",
        "https://discord.com/api/webhooks/s3cretword",
        "https://me:s3cretword@ho st/s3cretword",
    ],
)
def test_an_address_that_cannot_be_read_is_refused_without_being_said(url, heard):
    with pytest.raises(UnknownChannel) as raised:
        open_channel(url)
    assert "s3cretword" not in f"{raised.value}{heard()}"


@pytest.mark.parametrize("kind", ["{}/hook/s3cretword?secret=s3cretother", "slack+{}/services/s3cretword/s3cretother"])
def test_what_a_receiver_answers_does_not_bring_the_secret_back(receiver, kind, heard):
    for status, raised in ((404, DeliveryRefused), (500, DeliveryFailed)):
        receiver.answers.append((status, {}, b"no route /hook/s3cretword nor /services/S3CRETWORD/s3cretother"))
        with pytest.raises(raised) as error:
            open_channel(kind.format(receiver.url)).send(a_message())
        everything = f"{error.value}{heard()}".lower()
        assert "no route" in everything
        assert "s3cret" not in everything


def test_what_apprise_says_of_a_failure_does_not_bring_the_secret_back(receiver, heard):
    receiver.answers.append((404, {}, b"no s3cretword here"))
    url = receiver.url.replace("http://", "json://me:s3cretother@") + "/s3cretword"
    with pytest.raises(DeliveryRefused, match="404") as error:
        open_channel(url).send(a_message())
    assert "s3cret" not in f"{error.value}{heard()}".lower()


def test_the_examples_of_masking_hold():
    assert doctest.testmod(masking).failed == 0
    assert doctest.testmod(masking).attempted > 2
