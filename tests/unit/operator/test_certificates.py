"""Certificates: made once, kept while they are good, renewed in time, and followed by another authority's unnoticed."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509 import verification
from hypothesis import example, given, settings
from hypothesis import strategies as st
from outrider_operator.api.v1alpha1 import SpeculativeModel
from outrider_operator.api.validation import load
from outrider_operator.certificates.authority import (
    AUTHORITY_DAYS,
    CLOCK_SLACK,
    LEAF_DAYS,
    Pair,
    fits,
    is_pair,
    issue,
    new_authority,
    renewal,
)
from outrider_operator.certificates.plan import authorities, authority, identities
from outrider_operator.certificates.rotation import (
    KNOWN_BEFORE_SIGNING,
    Authorities,
    BadAuthority,
    advance,
    first,
    read,
)
from outrider_operator.resources.certificates import authority_secret, dns_names, files
from outrider_operator.resources.pod import Object

SAMPLE = Path(__file__).parents[3] / "manifests" / "samples" / "qwen-coder.yaml"
START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
NAMES = ["qwen-coder-draft.default.svc", "*.qwen-coder-draft.default.svc"]


@pytest.fixture
def model() -> SpeculativeModel:
    (found,) = load(SAMPLE)
    return found


def ended(certificate: bytes, now: datetime) -> bool:
    return x509.load_pem_x509_certificate(certificate).not_valid_after_utc <= now


def role(secret: Object) -> str:
    return str(secret["metadata"]["labels"]["app.kubernetes.io/component"])


def by_role(secrets: list[Object]) -> dict[str, Object]:
    return {role(secret): secret for secret in secrets}


def verified(leaf: bytes, trusted: tuple[bytes, ...] | list[bytes], now: datetime) -> bool:
    """Whether a peer that trusts these takes this certificate."""
    certificate = x509.load_pem_x509_certificate(leaf)
    store = verification.Store([x509.load_pem_x509_certificate(each) for each in trusted])
    builder = verification.PolicyBuilder().store(store).time(now)
    # The rules of the web, which ask more of an authority, are not those of a handshake in gRPC.
    of_authority = verification.ExtensionPolicy.permit_all().require_present(
        x509.BasicConstraints, verification.Criticality.CRITICAL, None
    )
    builder = builder.extension_policies(ca_policy=of_authority, ee_policy=verification.ExtensionPolicy.permit_all())
    try:
        builder.build_client_verifier().verify(certificate, [])
    except verification.VerificationError:
        return False
    return True


def test_a_certificate_is_for_its_names_on_both_sides_and_signs_no_others() -> None:
    signing = new_authority("default", START)
    pair = issue(signing, NAMES, START)
    parsed = x509.load_pem_x509_certificate(pair.certificate)
    names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    uses = parsed.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert names.get_values_for_type(x509.DNSName) == NAMES
    assert {use._name for use in uses} == {"serverAuth", "clientAuth"}
    assert not parsed.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert parsed.not_valid_after_utc == START + LEAF_DAYS * DAY
    assert fits(pair, signing.certificate, NAMES)


def test_a_name_longer_than_a_certificate_may_be_called_is_still_one_that_it_is_for() -> None:
    signing = new_authority("n" * 63, START)
    name = f"{'m' * 56}-target.{'n' * 63}.svc"
    assert fits(issue(signing, [name], START), signing.certificate, [name])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda pair, other: Pair(pair.key, other.certificate),
        lambda pair, other: Pair(other.key, pair.certificate),
        lambda pair, _: Pair(b"", pair.certificate),
        lambda pair, _: Pair(pair.key, b"-----BEGIN CERTIFICATE-----"),
        lambda _, other: other,
    ],
    ids=["another's certificate", "another's key", "no key", "no certificate", "another authority"],
)
def test_what_does_not_belong_together_does_not_fit(spoil: Any) -> None:
    signing, another = new_authority("default", START), new_authority("default", START)
    assert not fits(spoil(issue(signing, NAMES, START), issue(another, NAMES, START)), signing.certificate, NAMES)


def test_a_certificate_for_other_names_does_not_fit() -> None:
    signing = new_authority("default", START)
    assert not fits(issue(signing, NAMES[:1], START), signing.certificate, NAMES)


def test_a_key_is_not_shown() -> None:
    assert "PRIVATE" not in repr(first("default", START))


def test_the_first_run_makes_all_and_the_second_changes_nothing(model: SpeculativeModel) -> None:
    held = authorities("default", None, START)
    made = authority("default", held, None)
    assert made is not None
    assert "ownerReferences" not in made["metadata"]
    secrets = identities(model, held, {}, START)
    assert [secret["metadata"]["name"] for secret in secrets] == ["qwen-coder-draft-tls", "qwen-coder-target-tls"]
    for secret in secrets:
        found = files(secret)
        pair = Pair(found["tls.key"], found["tls.crt"])
        assert fits(pair, held.signing.certificate, dns_names(model, role(secret)))
        assert verified(pair.certificate, [found["ca.crt"]], START)
    later = START + 59 * DAY
    held = authorities("default", made, later)
    assert authority("default", held, made) is None
    assert identities(model, held, by_role(secrets), later) == secrets


def test_each_is_renewed_when_two_thirds_of_its_life_are_over(model: SpeculativeModel) -> None:
    held = first("default", START)
    draft, target = identities(model, held, {}, START)
    target = identities(model, held, {}, START + 30 * DAY)[1]
    later = START + 60 * DAY
    new_draft, new_target = identities(model, held, by_role([draft, target]), later)
    assert new_target == target
    assert files(new_draft)["tls.key"] != files(draft)["tls.key"]
    assert renewal(files(new_draft)["tls.crt"]) > START + 119 * DAY


def test_what_somebody_has_spoilt_is_made_anew(model: SpeculativeModel) -> None:
    held = first("default", START)
    draft, target = identities(model, held, {}, START)
    spoilt = {**draft, "data": {**draft["data"], "tls.key": "no base64", "tls.crt": b64encode(b"x").decode()}}
    new_draft, new_target = identities(model, held, by_role([spoilt, target]), START)
    assert is_pair(Pair(files(new_draft)["tls.key"], files(new_draft)["tls.crt"]))
    assert new_target == target


def test_an_authority_that_is_none_is_not_replaced_by_itself() -> None:
    held = first("default", START)
    for spoilt in (
        {},
        {"tls.crt": held.signing.certificate},
        {**held.files(), "tls.key": first("default", START).signing.key},
    ):
        with pytest.raises(BadAuthority) as told:
            authorities("default", authority_secret("default", spoilt), START)
        assert "BEGIN" not in str(told.value)


def test_an_authority_is_known_to_all_for_a_day_before_it_signs(model: SpeculativeModel) -> None:
    secret: Object = authority_secret("default", first("default", START).files())
    secret["metadata"]["resourceVersion"] = "7"
    before = authorities("default", secret, START)
    secrets = identities(model, before, {}, START)

    due = renewal(before.signing.certificate)
    during = authorities("default", secret, due)
    assert (during.signing, len(during.trusted)) == (before.signing, 2)
    written = authority("default", during, secret)
    assert written is not None
    assert written["metadata"]["resourceVersion"] == "7", "what another has changed meanwhile is not written over"
    fresh = identities(model, during, by_role(secrets), due)
    assert all(files(each)["ca.crt"].count(b"BEGIN") == 2 for each in fresh)

    after = authorities("default", written, due + KNOWN_BEFORE_SIGNING)
    assert after.signing == during.coming
    assert after.coming is None
    assert after.trusted == during.trusted, "certificates of the old one are good for as long as it is"
    newest = identities(model, after, by_role(fresh), due + KNOWN_BEFORE_SIGNING)
    assert all(fits(_pair(each), after.signing.certificate, dns_names(model, role(each))) for each in newest)
    assert all(verified(_pair(each).certificate, during.trusted, due + DAY) for each in newest)

    end = START + (AUTHORITY_DAYS + 1) * DAY
    assert authorities("default", authority_secret("default", after.files()), end).trusted == (
        after.signing.certificate,
    )


def _pair(secret: Object) -> Pair:
    return Pair(files(secret)["tls.key"], files(secret)["tls.crt"])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(min_value=0.01, max_value=1200), min_size=2, max_size=25))
# A day less 0.8 s after the coming one was made, within a second that certificates do not tell apart.
@example([1.318359375, 33.318359375, 1199.318359375, 1199.99999, 0.99999])
def test_whenever_the_operator_looks_what_it_signs_is_trusted_by_who_has_not_heard_for_a_day(days: list[float]) -> None:
    """However long it is away, up to the third of a life that an authority has left when it is replaced."""
    now, held = START, first("default", START)
    history: list[tuple[datetime, Authorities]] = [(now, held)]
    for each in days:
        now += timedelta(days=each)
        held = advance(held, "default", now)
        assert advance(held, "default", now) == held, "a second look changes nothing"
        assert not ended(held.signing.certificate, now)
        assert held.signing.certificate in held.trusted
        a_day_ago = [earlier for at, earlier in history if at <= now - KNOWN_BEFORE_SIGNING]
        for earlier in a_day_ago[-1:]:
            assert held.signing.certificate in earlier.trusted
        in_use = [earlier.signing.certificate for _, earlier in history[-1:]]
        assert all(certificate in held.trusted or ended(certificate, now) for certificate in in_use)
        history.append((now, held))


def test_after_years_without_an_operator_there_is_an_authority_again() -> None:
    old = first("default", START)
    now = START + (AUTHORITY_DAYS + 1) * DAY
    fresh = advance(old, "default", now)
    assert fresh.trusted == (fresh.signing.certificate,)
    assert not ended(fresh.signing.certificate, now)


@pytest.mark.parametrize("ahead", [timedelta(minutes=6), timedelta(hours=1), 365 * DAY])
def test_what_a_clock_made_that_was_ahead_is_made_anew_once_it_is_right(
    model: SpeculativeModel, ahead: timedelta
) -> None:
    early = first("default", START + ahead)
    secrets = identities(model, early, {}, START + ahead)
    held = advance(early, "default", START)
    for secret in identities(model, held, by_role(secrets), START):
        assert verified(_pair(secret).certificate, held.trusted, START)
    of_right_clock = first("default", START)
    for secret in identities(
        model, of_right_clock, by_role(identities(model, of_right_clock, {}, START + ahead)), START
    ):
        assert verified(_pair(secret).certificate, of_right_clock.trusted, START)


def test_what_a_clock_made_that_was_ahead_by_less_than_clocks_differ_is_kept(model: SpeculativeModel) -> None:
    early = first("default", START + CLOCK_SLACK)
    secrets = identities(model, early, {}, START + CLOCK_SLACK)
    assert advance(early, "default", START) == early
    assert identities(model, early, by_role(secrets), START) == secrets


def test_an_authority_that_is_to_follow_since_a_clock_was_ahead_is_forgotten_once_it_is_right() -> None:
    held = first("default", START)
    early = advance(held, "default", START + 3000 * DAY)
    assert early.coming is not None
    assert advance(early, "default", START + DAY) == held


def test_an_authority_that_ends_before_the_next_is_known_for_a_day_is_followed_at_once() -> None:
    """No operator ran until its last day."""
    held = advance(first("default", START), "default", START + AUTHORITY_DAYS * DAY - timedelta(hours=12))
    assert held.coming is not None
    after = advance(read(held.files()), "default", START + AUTHORITY_DAYS * DAY + timedelta(hours=2))
    assert after.signing == held.coming
    assert read(after.files()) == after
