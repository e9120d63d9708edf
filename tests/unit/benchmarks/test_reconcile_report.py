"""The figures of many models: per model, and held against the goals."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.reconcile.report import Point, build_report

FEW = Point(
    resources=50,
    objects=350,
    children_s=5.0,
    writes=500,
    update_p50_s=0.2,
    writes_at_rest=0,
    cpu_share=0.01,
    rss_mb=100,
)
MANY = replace(FEW, resources=500, objects=3500, children_s=50.0, writes=5000)


def met(*points: Point) -> list[bool]:
    return [goal["met"] for goal in build_report(points, {}, 300)["goals"]]


def test_the_largest_number_is_at_the_top_and_every_one_below() -> None:
    content = build_report([FEW, MANY], {}, 300)
    assert content["resources"] == 500
    assert content["writes_per_resource"] == 10
    assert [point["resources"] for point in content["points"]] == [50, 500]


def test_one_write_an_object_and_one_status_are_the_goal_and_ten_times_the_models_take_ten_times_as_long() -> None:
    assert all(met(FEW, MANY))
    for worse in (
        replace(MANY, writes=5001),
        replace(MANY, children_s=61),
        replace(MANY, writes_at_rest=1),
        replace(MANY, cpu_share=0.06),
        replace(MANY, rss_mb=251),
        replace(MANY, update_p50_s=1.1),
    ):
        assert met(FEW, worse).count(False) == 1
    assert met(replace(FEW, children_s=2), MANY).count(False) == 1, "not linear"
