"""What the DNS of the cluster with pods is told to answer."""

from __future__ import annotations

from typing import Any

from cluster.names import hosts


def item(name: str, **content: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": "chat", "name": name}, **content}


def test_a_service_has_the_name_that_every_cluster_gives_it() -> None:
    services = [item("model-target", spec={"clusterIP": "10.96.1.2"})]
    assert hosts(services, []) == "10.96.1.2 model-target.chat.svc.cluster.local\n"


def test_a_headless_service_has_the_addresses_of_its_pods_that_are_ready() -> None:
    services = [item("model-draft", spec={"clusterIP": "None"})]
    subsets = [
        {"addresses": [{"ip": "10.244.0.7"}, {"ip": "10.244.0.5"}], "notReadyAddresses": [{"ip": "10.244.0.9"}]},
        {"notReadyAddresses": [{"ip": "10.244.0.8"}]},
    ]
    assert hosts(services, [item("model-draft", subsets=subsets)]).splitlines() == [
        "10.244.0.5 model-draft.chat.svc.cluster.local",
        "10.244.0.7 model-draft.chat.svc.cluster.local",
    ]


def test_a_service_without_pods_or_without_an_address_has_no_name() -> None:
    services = [item("model-draft", spec={"clusterIP": "None"}), item("elsewhere", spec={"type": "ExternalName"})]
    assert hosts(services, [item("model-draft")]) == ""
