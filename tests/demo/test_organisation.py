"""The one configuration of the story: what it has to show differs where the story says so."""

from datetime import UTC, datetime

from demo.organisation import configuration

MARCH = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


class TestConfiguration:
    def test_two_kinds_of_accelerator_that_draw_differently(self) -> None:
        pools = configuration(MARCH)["pools"]
        assert [(pool["name"], pool["accelerator"], pool["slots"], pool["wattsPerAccelerator"]) for pool in pools] == [
            ("forge-small", "sim-a10", 2, 150), ("forge-large", "sim-h100", 2, 700),
        ]  # fmt: skip

    def test_rates_for_two_tiers_and_a_cheaper_night(self) -> None:
        (prices,) = configuration(MARCH)["priceLists"]
        rates = {
            (rate["pool"], rate["tier"], rate.get("hours", {}).get("from")): rate["creditsPerHour"]
            for rate in prices["rates"]
        }
        assert rates == {
            ("forge-small", "STANDARD", None): "6", ("forge-small", "STANDARD", "22:00"): "3",
            ("forge-small", "PREEMPTIBLE", None): "3", ("forge-small", "PREEMPTIBLE", "22:00"): "1.5",
            ("forge-large", "STANDARD", None): "24", ("forge-large", "STANDARD", "22:00"): "12",
            ("forge-large", "PREEMPTIBLE", None): "12", ("forge-large", "PREEMPTIBLE", "22:00"): "6",
        }  # fmt: skip
        assert len(prices["rates"]) == len(rates)

    def test_programmes_of_two_classes_in_one_period(self) -> None:
        made = configuration(MARCH)
        assert {each["name"]: each["strategicClass"] for each in made["programmes"]} == {
            "zero-defects": "A", "tinkering": "C",
        }  # fmt: skip
        (period,) = made["periods"]
        assert (period["startsAt"], period["endsAt"]) == ("2026-01-01T00:00:00+00:00", "2027-01-01T00:00:00+00:00")
