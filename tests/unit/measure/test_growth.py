"""What two readings of the metrics say."""

import math

import pytest
from outrider_operator.measure.growth import grown_buckets, increase, per_second, quantile
from outrider_operator.measure.scrape import Scrape, parse_scrape
from outrider_operator.measure.window import Window

ITL = "inter_token_latency_seconds"
INF = math.inf


def scrape(at_s: float, run: int = 1, **values: float) -> Scrape:
    return Scrape(at_s, run, values)


def histogram(run: int = 1, **counts: float) -> Scrape:
    """Bounds are given as le_10 for 10 ms, le_inf for all."""
    bounds = {INF if name == "le_inf" else int(name[3:]) / 1000: count for name, count in counts.items()}
    return Scrape(0.0, run, {}, {ITL: bounds})


def test_a_counter_grows_by_the_difference_over_the_time_between() -> None:
    assert per_second(scrape(10, x=100), scrape(14, x=300), "x") == 50


def test_a_counter_that_began_again_grew_by_all_that_it_shows() -> None:
    assert increase(scrape(0, x=100), scrape(1, x=7), "x") == 7


def test_a_restart_shows_even_where_the_counter_has_passed_its_old_figure() -> None:
    assert increase(scrape(0, run=1, x=100), scrape(1, run=2, x=130), "x") == 130


def test_a_counter_that_is_not_there_yet_has_not_grown() -> None:
    assert increase(scrape(0), scrape(1), "x") == 0


def test_a_window_of_no_length_has_no_rate() -> None:
    one = scrape(3, x=9)
    assert per_second(one, one, "x") == 0


def test_a_quantile_is_interpolated_within_its_bucket() -> None:
    before = histogram(le_10=0, le_20=0, le_inf=0)
    after = histogram(le_10=50, le_20=100, le_inf=100)
    assert quantile(before, after, ITL, 0.95) == pytest.approx(0.019)


def test_a_quantile_is_of_the_window_and_not_of_all_time() -> None:
    before = histogram(le_10=1000, le_20=1000, le_inf=1000)
    after = histogram(le_10=1000, le_20=1010, le_inf=1010)
    assert quantile(before, after, ITL, 0.5) == pytest.approx(0.015)


def test_what_lies_above_the_last_bound_counts_as_that_bound() -> None:
    assert quantile(histogram(), histogram(le_10=1, le_20=1, le_inf=100), ITL, 0.95) == 0.02


@pytest.mark.parametrize("now", [histogram(), histogram(le_10=5, le_inf=5)])
def test_a_window_without_observations_has_no_quantile(now: Scrape) -> None:
    assert quantile(now, now, ITL, 0.95) is None


@pytest.mark.parametrize("run", [1, 2])
def test_a_histogram_that_began_again_counts_in_full(run: int) -> None:
    before = histogram(le_10=900, le_20=1000, le_inf=1000)
    after = histogram(run=run, le_10=0, le_20=10, le_inf=10)
    assert quantile(before, after, ITL, 0.5) == pytest.approx(0.015)


def test_metrics_are_summed_over_labels_and_those_of_others_left_out() -> None:
    text = """\
# TYPE outrider_requests_total counter
outrider_requests_total{model_name="a",outcome="stop"} 3
outrider_requests_total{model_name="a",outcome="length"} 4
# TYPE outrider_inter_token_latency_seconds histogram
outrider_inter_token_latency_seconds_bucket{model_name="a",le="0.01"} 5
outrider_inter_token_latency_seconds_bucket{model_name="a",le="+Inf"} 6
outrider_inter_token_latency_seconds_count{model_name="a"} 6
outrider_inter_token_latency_seconds_sum{model_name="a"} 0.5
python_gc_objects_collected_total 9
"""
    read = parse_scrape(text, at_s=1.0, run=1)
    assert read.value("requests_total") == 7
    assert read.buckets == {ITL: {0.01: 5, INF: 6}}
    assert read.value("python_gc_objects_collected_total") is None


def test_what_is_not_metrics_is_an_error() -> None:
    with pytest.raises(ValueError, match="html"):
        parse_scrape("<html>502</html>", at_s=0.0, run=1)


@pytest.mark.parametrize(
    ("page", "said"),
    [
        pytest.param("outrider_x_total 1" + "0" * 310 + "\n", "OverflowError", id="a number beyond any float"),
        pytest.param("outrider_x_total 1 1" + "0" * 320 + "\n", "Overflow", id="a time beyond any float"),
        pytest.param('outrider_x_total{model_name="m",  ="0"} 1\n', "IndexError", id="a label without a name"),
        pytest.param("outrider_x_total NaN\noutrider_y 1\n", "x_total is nan", id="a counter that is no number"),
        pytest.param('outrider_x_bucket{le="+Inf"} +Inf\noutrider_y 1\n', "x_bucket is inf", id="a bucket"),
        pytest.param(f"outrider_x_total{{{'a=b,' * 3000}}} 1\n", "more than 8192", id="a line of 12 kB"),
        pytest.param("", "nothing", id="an empty page"),
        pytest.param("# starting\n", "nothing", id="a comment only"),
        pytest.param("python_gc_objects_collected_total 9\n", "nothing", id="nothing of ours"),
    ],
)
def test_a_page_that_cannot_be_relied_on_is_no_metrics(page: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_scrape(page, at_s=0.0, run=1)


def test_a_counter_that_one_page_leaves_out_has_not_grown_by_all_its_life() -> None:
    week = Scrape(0.0, 1, {"x_total": 500_000, "y": 1}, {ITL: {INF: 9000}})
    gap = Scrape(15.0, 1, {"z": 1})
    after = Scrape(30.0, 1, {"x_total": 500_030, "y": 1}, {ITL: {INF: 9010}})
    window = Window(length_s=60)
    for each in (week, gap, after):
        window.add(each)
    first, missing, last = window.readings()
    assert [increase(*pair, "x_total") for pair in ((first, missing), (missing, last))] == [0, 30]
    assert grown_buckets(missing, last, ITL) == {INF: 10}
    assert "y" not in missing.values, "a gauge says what is now"


def test_a_counter_that_a_new_run_does_not_have_yet_is_not_the_old_one_s() -> None:
    window = Window(length_s=60)
    for each in (scrape(0, run=1, x_total=500), scrape(15, run=2), scrape(30, run=2, x_total=600)):
        window.add(each)
    _, begun, last = window.readings()
    assert increase(begun, last, "x_total") == 600


def test_a_window_keeps_the_reading_at_its_edge_and_none_before() -> None:
    window = Window(length_s=10)
    for second in range(0, 26, 5):
        window.add(scrape(second))
    ends = window.ends()
    assert ends is not None
    assert (ends[0].at_s, ends[1].at_s) == (15, 25)


def test_a_window_that_slept_still_has_two_ends() -> None:
    window = Window(length_s=10)
    window.add(scrape(0))
    window.add(scrape(500))
    ends = window.ends()
    assert ends is not None
    assert (ends[0].at_s, ends[1].at_s) == (0, 500)


def test_of_a_page_only_what_is_wanted_is_kept() -> None:
    text = """\
# TYPE outrider_prompt_tokens_total counter
outrider_prompt_tokens_total{model_name="a"} 3
# TYPE outrider_step_time_seconds gauge
outrider_step_time_seconds{model_name="a",tokens="1"} 0.02
outrider_step_time_seconds{model_name="a",tokens="16"} 0.05
# TYPE outrider_inter_token_latency_seconds histogram
outrider_inter_token_latency_seconds_bucket{model_name="a",le="0.01"} 5
# TYPE outrider_e2e_request_latency_seconds histogram
outrider_e2e_request_latency_seconds_bucket{model_name="a",le="0.01"} 5
"""
    read = parse_scrape(text, 0.0, 0, wanted={"step_time_seconds", ITL})
    assert read.by_label("step_time_seconds") == {"1": 0.02, "16": 0.05}
    assert set(read.values) == {"step_time_seconds", "step_time_seconds{1}", "step_time_seconds{16}"}
    assert read.buckets == {ITL: {0.01: 5}}


def test_what_is_no_number_was_not_measured() -> None:
    read = parse_scrape('outrider_kv_cache_usage_perc{model_name="a"} NaN\noutrider_x 1\noutrider_y +Inf\n', 0.0, 0)
    assert read.values == {"x": 1}
