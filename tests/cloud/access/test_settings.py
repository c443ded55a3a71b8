"""Who may call: settings that are refused, and names of callers that nobody can choose."""

from pathlib import Path

import pytest
from certificates import Authority

from janus_vit.cloud.access.callers import caller_at
from janus_vit.cloud.access.settings import Access, Gate
from janus_vit.errors import InputError

FILE = Path("file")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"certificate": FILE}, "--cert and --key belong together"),
        ({"client_ca": FILE}, "--client-ca needs TLS"),
        ({"tokens": FILE, "allow_anonymous": True}, "--allow-anonymous contradicts --tokens"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, says):
    with pytest.raises(InputError, match=says):
        Access(**settings)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "localhost", "[::1]"])
def test_on_this_machine_nobody_needs_credentials(host):
    Access().check(host)
    Access(tokens=FILE).check(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.5", "[::]", "[::ffff:10.0.0.5]", "no.such.host.invalid"])
def test_where_others_reach_the_cloud_it_asks_for_credentials_or_for_a_clear_word(host):
    with pytest.raises(InputError, match="anyone could use this cloud: add --tokens"):
        Access(FILE, FILE).check(host)
    with pytest.raises(InputError, match="in clear text"):
        Access(tokens=FILE).check(host)
    for protected in (Access(FILE, FILE, tokens=FILE), Access(FILE, FILE, FILE), Access(allow_anonymous=True)):
        protected.check(host)


def test_without_credentials_an_address_is_the_caller_and_on_this_machine_a_connection():
    names = {
        "ipv4:10.0.0.5:4000": "10.0.0.5",
        "ipv4:10.0.0.5:4001": "10.0.0.5",
        "ipv6:%5B2001:db8:1:2:3::4%5D:4000": "2001:db8:1:2::/64",
        "ipv6:%5B2001:db8:1:2:ffff::9%5D:4000": "2001:db8:1:2::/64",
        "ipv6:%5B::ffff:10.0.0.5%5D:4000": "10.0.0.5",
        "ipv4:127.0.0.1:4000": "127.0.0.1:4000",
        "ipv6:%5B::1%5D:4000": "::1:4000",
    }
    assert {peer: caller_at(peer).name for peer in names} == names
    assert not any(caller_at(peer).proven for peer in names)


class Verified:
    """gRPC's context of a call with a client certificate of this name."""

    def __init__(self, name):
        self._name = name

    def auth_context(self):
        return {"x509_common_name": [], "x509_subject_alternative_name": [self._name.encode()]}


def test_certificates_with_long_names_that_begin_alike_are_different_callers(tmp_path):
    authority = Authority()
    ca = tmp_path / "ca.pem"
    ca.write_bytes(authority.pem)
    certificate, key = authority.pair(tmp_path, "cloud")
    gate = Gate(Access(certificate, key, client_ca=ca))
    names = [gate.identify(Verified(name), None).name for name in ("n" * 68 + "1", "n" * 68 + "2", "n" * 64, "robot-1")]
    assert len(set(names)) == 4
    assert {len(name) for name in names[:3]} == {64}
    assert names[2:] == ["n" * 64, "robot-1"]
