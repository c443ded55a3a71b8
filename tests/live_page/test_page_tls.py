"""The page over TLS: with tokens, with client certificates, with both, and with a certificate that is renewed."""

import http.client
import os
import ssl
from pathlib import Path

import pytest
from certificates import Authority
from cryptography.hazmat.primitives.asymmetric import ed25519
from patience import PATIENCE_S, wait_until

from janus_vit.cloud.access.certificates import check_pair
from janus_vit.cloud.metrics import CloudMetrics
from janus_vit.cloud.watching.events import EventBuffer
from janus_vit.errors import InputError
from janus_vit.live_page.cloud_feed import CloudFeed
from janus_vit.live_page.server import LivePage
from janus_vit.live_page.tls import PageTls, watched_context

TOKENS = {"secret": "operator"}


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture(scope="module")
def files(authority, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    (folder / "ca.pem").write_bytes(authority.pem)
    return folder, *authority.pair(folder, "page")


@pytest.fixture
def feed():
    return CloudFeed(EventBuffer(), CloudMetrics().registry, "page")


def trusting(authority, certificate=None):
    context = ssl.create_default_context(cadata=authority.pem.decode())
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # which Python 3.13 sets; the certificates of tests are plain
    if certificate is not None:
        context.load_cert_chain(*certificate)
    return context


def ask(page, context, path="/history", **headers):
    """Status and headers of an answer."""
    connection = http.client.HTTPSConnection("127.0.0.1", page.port, timeout=PATIENCE_S, context=context)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status, answer.headers


def test_a_token_opens_a_session_whose_cookie_never_goes_without_tls(feed, authority, files):
    _, certificate, key = files
    with LivePage(feed, "0.0.0.0:0", TOKENS.get, PageTls(certificate, key)) as page:
        context = trusting(authority)
        assert page.url.startswith("https://")
        assert ask(page, context)[0] == 401
        assert ask(page, context, Authorization="Bearer secret")[0] == 200
        status, headers = ask(page, context, "/?token=secret")
        cookie = headers["set-cookie"]
        assert status == 303
        assert "Secure" in cookie
        assert ask(page, context, Cookie=cookie.split(";")[0])[0] == 200
        plain = http.client.HTTPConnection("127.0.0.1", page.port, timeout=PATIENCE_S)
        plain.request("GET", "/history", headers={"Authorization": "Bearer secret"})
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            plain.getresponse()
        plain.close()


def test_a_client_certificate_opens_the_page_also_from_other_machines(feed, authority, files):
    folder, certificate, key = files
    tls = PageTls(certificate, key, folder / "ca.pem")
    with LivePage(feed, "0.0.0.0:0", tls=tls) as page:
        assert ask(page, trusting(authority, authority.pair(folder, "operator")), Host="cloud.example")[0] == 200
        for context in (trusting(authority), trusting(authority, Authority("other").pair(folder, "stranger"))):
            with pytest.raises(OSError, match=r"(?i)certificate|alert|reset|broken|closed|eof"):
                ask(page, context)


def test_with_tokens_as_well_a_browser_needs_both(feed, authority, files):
    folder, certificate, key = files
    tls = PageTls(certificate, key, folder / "ca.pem")
    with LivePage(feed, "127.0.0.1:0", TOKENS.get, tls) as page:
        context = trusting(authority, authority.pair(folder, "operator"))
        assert ask(page, context)[0] == 401
        assert ask(page, context, Authorization="Bearer secret")[0] == 200


def test_a_renewed_certificate_counts_without_a_restart_and_a_damaged_one_changes_nothing(feed, authority, tmp_path):
    certificate, key = authority.pair(tmp_path, "page")
    other = Authority("new authority")
    with LivePage(feed, "127.0.0.1:0", tls=PageTls(certificate, key)) as page:
        certificate.write_text("damaged")
        assert ask(page, trusting(authority))[0] == 200
        for old, new in zip((certificate, key), other.pair(tmp_path, "new"), strict=True):
            os.replace(new, old)

        def is_renewed():
            try:
                return ask(page, trusting(other))[0] == 200
            except ssl.SSLCertVerificationError:
                return False

        wait_until(is_renewed, pause_s=0.05)


def test_a_new_authority_replaces_the_old_one_without_a_restart(feed, authority, tmp_path):
    certificate, key = authority.pair(tmp_path, "page")
    other = Authority("new authority")
    old, new = authority.pair(tmp_path, "old"), other.pair(tmp_path, "new")
    trusted = tmp_path / "ca.pem"
    trusted.write_bytes(authority.pem)

    def admits(browser):
        try:
            return ask(page, trusting(authority, browser))[0] == 200
        except OSError:
            return False

    with LivePage(feed, "127.0.0.1:0", tls=PageTls(certificate, key, trusted)) as page:
        assert (admits(old), admits(new)) == (True, False)
        trusted.write_bytes(other.pem)
        wait_until(lambda: admits(new), pause_s=0.05)
        assert not admits(old)


@pytest.mark.parametrize("change", [Path.unlink, lambda key: key.write_text("half")])
def test_files_that_change_while_they_are_read_are_a_sentence(authority, tmp_path, monkeypatch, change):
    certificate, key = authority.pair(tmp_path, "page")
    read = "janus_vit.cloud.access.certificates.read_bytes"
    monkeypatch.setattr(read, lambda path: (change(key) if path == key else None, b"")[1])
    with pytest.raises(InputError, match="check both files"):
        watched_context(PageTls(certificate, key))
    monkeypatch.setattr(read, lambda path: b"")
    with pytest.raises(InputError, match="check both files"):
        check_pair(certificate, key)


@pytest.mark.parametrize(
    ("valid_h", "says"), [((-48, -24), "expired on 20.* renew it"), ((24, 48), "is not valid before 20")]
)
def test_a_certificate_that_is_not_valid_now_is_refused_at_the_start(feed, authority, tmp_path, valid_h, says):
    tls = PageTls(*authority.pair(tmp_path, "page", valid_h=valid_h))
    with pytest.raises(InputError, match=f"page.pem: {says}"):
        LivePage(feed, "127.0.0.1:0", tls=tls)


def test_a_page_takes_keys_that_grpc_does_not(feed, authority, tmp_path):
    tls = PageTls(*authority.pair(tmp_path, "page", ed25519.Ed25519PrivateKey.generate()))
    with LivePage(feed, "127.0.0.1:0", tls=tls) as page:
        assert ask(page, trusting(authority))[0] == 200
