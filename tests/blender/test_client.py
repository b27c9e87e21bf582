"""The extension's HTTP client."""

from __future__ import annotations

import json
from email import message_from_bytes

import pytest


@pytest.fixture
def client(services, server):
    return services("client").Client(server.address + "/", "secret")


def test_photos_arrive_with_name_options_and_token(client, server, photo):
    head = client.make([photo, photo], name="Zoë", options={"quality": "draft"})
    method, path, headers, body = server.requests[-1]
    assert head["id"] == "0" * 16 and (method, path) == ("POST", "/api/heads")
    assert headers["Authorization"] == "Bearer secret"
    form = message_from_bytes(b"Content-Type: " + headers["Content-Type"].encode() + b"\r\n\r\n" + body)
    parts = [(part.get_param("name", header="content-disposition"), part) for part in form.get_payload()]
    assert [name for name, _ in parts] == ["name", "options", "photos", "photos"]
    assert parts[0][1].get_payload(decode=True).decode() == "Zoë"
    assert json.loads(parts[1][1].get_payload(decode=True)) == {"quality": "draft"}
    assert parts[2][1].get_filename() == "photo.JPG"  # the person's name stays here
    assert photo.read_bytes() in body and body.count(photo.read_bytes()) == 2


def test_files_are_saved_and_photos_get_their_suffix(client, server, tmp_path):
    client.save_file("0" * 16, "head.glb", tmp_path / "x.glb")
    assert (tmp_path / "x.glb").read_bytes() == server.answer("GET", f"/api/heads/{'0' * 16}/files/head.glb")[2]
    assert client.save_photo("0" * 16, 0, tmp_path / "photo") == tmp_path / "photo.png"
    client.save_file("0" * 16, "hair.usdc", tmp_path / "hair.usdc")
    with pytest.raises(Exception, match="status 404"):
        client.save_file("0" * 16, "../x y", tmp_path / "y")
    assert server.requests[-1][1].endswith("/files/..%2Fx%20y")


def test_refusals_are_told_in_the_servers_words(client, server, services):
    server.refuse("POST", "/api/heads", 429, "the queue is full; try again later")
    with pytest.raises(services("client").ServerError, match=r"^the queue is full; try again later$") as caught:
        client.make([], name="x", options={})
    assert caught.value.status == 429 and not caught.value.unreachable


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"name": "other"}', b"\xff"])
def test_other_programs_are_not_taken_for_spinmeround(client, server, body):
    server.answers["GET", "/api/server"] = (200, {}, body)
    with pytest.raises(Exception, match="is not spinmeround; check the address"):
        client.server()


def test_redirections_are_not_followed(client, server):
    server.answers["GET", "/api/server"] = (302, {"Location": "/api/options"}, b"")
    with pytest.raises(Exception, match="refused with status 302"):
        client.server()
    assert [path for _, path, _, _ in server.requests] == ["/api/server"]


def test_proxies_of_the_system_see_nothing(services, server, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    assert services("client").Client(server.address).server()["version"] == "1"


def test_where_nothing_answers_it_says_what_to_do(services, server):
    server.close()
    with pytest.raises(services("client").ServerError, match=r"start spmr-app, or give its path") as caught:
        services("client").Client(server.address).server()
    assert caught.value.unreachable


def test_a_photo_that_is_gone_is_named(client, photo):
    photo.unlink()
    with pytest.raises(Exception, match=r"The photo .*Zoë & co.JPG cannot be read"):
        client.make([photo], name="x", options={})


@pytest.mark.parametrize("address", ["", "127.0.0.1:8765", "ftp://x", "http://", "http://x/y", "http://x:99999"])
def test_addresses_that_are_none_are_refused(services, address):
    with pytest.raises(services("client").ServerError, match=r"must be like http://127.0.0.1:8765"):
        services("client").Client(address)


@pytest.mark.parametrize(
    ("address", "here"),
    [
        ("http://127.0.0.1:8765", True),
        ("http://localhost:1", True),
        ("http://[::1]:1", True),
        ("https://192.168.0.2", False),
        ("http://localhost.example.org", False),
        ("http://127.0.0.1.example.org", False),
    ],
)
def test_this_computer_is_told_from_others(services, address, here):
    assert services("client").is_on_this_computer(address) == here
