"""Questions about checkpoints of one training: its layers, its features and what it learned, over its steps."""

from typing import Any

import numpy as np
import pandas as pd

from store.errors import UserError
from store.metrics.onsets import FELL, NEVER, NOTHING, ROSE, came_and_went, first_claims, onsets, turned
from store.metrics.verdicts import THIS_RUN_ONLY
from store.names import ALL, CLAIMED
from store.read.connection import Connection
from store.trainings import main_series

EVERY_RUN, THIS_RUN = LEVELS = ("every run", "this run")
"""What a course rests on: claims, where every step of the training was run twice or more; else what stands out from random
changes of the weights in this run alone, which is no claim."""


class Series(Connection):
    """What a store says of the trainings that it has several checkpoints of."""

    def series(self) -> pd.DataFrame:
        """The checkpoints of each training that the store has two steps of or more: a row each, in order of steps.

        Columns: series, step (optimiser steps), variant, n_runs (of the variant's recipe, itself among them), repeats (the
        series that stands for its training, which this one repeats with another seed, some steps or all; null of that series
        itself). Of two runs of one step in one series only the first is there.
        """
        members, n_runs = self.members(), self.groups().set_index("variant")["n_runs"]
        main = main_series(members)
        made = [(of.series, of.step, name, int(n_runs[name])) for name, of in members.items() if of.series is not None]
        rows = pd.DataFrame(made, columns=["series", "step", "variant", "n_runs"])
        rows = rows.sort_values("step", kind="stable").drop_duplicates(["series", "step"])
        rows = rows[rows.groupby("series")["step"].transform("size") > 1]
        repeats = [None if main[series] == series else main[series] for series in rows["series"]]
        rows["repeats"] = pd.Series(repeats, rows.index, dtype=object)
        order = {series: place for place, series in enumerate(main)}
        rows = rows.sort_values("series", key=lambda names: names.map(order), kind="stable", ignore_index=True)
        return rows[["series", "step", "variant", "n_runs", "repeats"]]

    def series_of(self, variant: str) -> str | None:
        """The series that a variant is a checkpoint of; None of every other, and of a training's only one."""
        rows = self.series()
        found = self.manifest.variants[variant].get("series")
        return found if found in set(rows["series"]) else None

    def layers_over_steps(self, series: str, domain: str = ALL) -> pd.DataFrame:
        """Rows of layer_metrics of each checkpoint, all segments together, with its step: observed, controls and twins.

        Raises:
            UserError: there is no such series.
        """
        steps = self._steps(series)
        rows = self.sql(
            """
            SELECT * FROM layer_metrics
            WHERE list_contains($variants::VARCHAR[], variant) AND domain = $domain AND segment = 'all'
            ORDER BY list_position($variants::VARCHAR[], variant), layer, metric, control
            """,
            {"variants": steps["variant"].to_list(), "domain": domain},
        )
        return rows.assign(step=rows["variant"].map(steps.set_index("variant")["step"]).astype("int64"))

    def feature_over_steps(self, series: str, layer: int, feature: int) -> pd.DataFrame:
        """One feature at each checkpoint, all domains together: a row a step, in order.

        Columns: step, variant, n_runs, and of feature_stats n_clusters, change, change_low, change_high, twin_low, twin_high,
        mean_base, mean_variant, freq_base, freq_variant, verdict, reason: null where it fired neither in the base nor there.

        Raises:
            UserError: there is no such series.
        """
        steps = self._steps(series)
        rows = self.sql(
            """
            SELECT v.variant, s.n_clusters, s.change, s.change_low, s.change_high, s.twin_low, s.twin_high, s.mean_base,
                   s.mean_variant, s.freq_base, s.freq_variant, s.verdict, s.reason
            FROM (SELECT unnest($variants::VARCHAR[]) AS variant) v
            LEFT JOIN feature_stats s
                ON s.variant = v.variant AND s.layer = $layer AND s.feature = $feature AND s.domain = 'all'
            """,
            {"variants": steps["variant"].to_list(), "layer": int(layer), "feature": int(feature)},
        )
        return steps[["step", "variant", "n_runs"]].merge(rows, "left", "variant")

    def course_level(self, series: str) -> str:
        """What the courses of a series rest on, of LEVELS.

        Raises:
            UserError: there is no such series.
        """
        return EVERY_RUN if (self._steps(series)["n_runs"] > 1).all() else THIS_RUN

    def courses(self, series: str, layer: int | None = None, feature: int | None = None) -> pd.DataFrame:
        """The features of which a change is claimed (or, at the level THIS_RUN, stands out) at some step of a series.

        Returns:
            layer, feature, label, label_source; way ('suppressed' or 'amplified': of its latest claim); onset
            (the first step from which on it is claimed that way at every later step; null where it is not at the last), first
            (the first step where it is claimed at all: before the onset of one that flickers), came_and_went (claimed at some
            step, and not at the last), turned (claimed at the last, and before that the other way), change (at the last step),
            largest (of the changes at all steps the one of the largest size), ways (list: -1, 0 or 1 at each step). Earliest
            onset first, then those that came and went.

        Raises:
            UserError: there is no such series.
        """
        steps = self._steps(series)
        standing_out = CLAIMED if self.course_level(series) == EVERY_RUN else (*CLAIMED, THIS_RUN_ONLY)
        rows = self.sql(
            """
            WITH mine AS (
                SELECT * FROM feature_stats
                WHERE domain = 'all' AND list_contains($variants::VARCHAR[], variant)
                  AND ($layer::INTEGER IS NULL OR layer = $layer) AND ($feature::INTEGER IS NULL OR feature = $feature)
            )
            SELECT s.layer, s.feature, list_position($variants::VARCHAR[], s.variant) - 1 AS place, s.change,
                   coalesce(list_contains($standing_out::VARCHAR[], s.verdict), false) AS claimed, f.label, f.label_source
            FROM mine s
            SEMI JOIN (FROM mine WHERE list_contains($standing_out::VARCHAR[], verdict)) c USING (layer, feature)
            LEFT JOIN features f ON f.layer = s.layer AND f.feature = s.feature
            ORDER BY s.layer, s.feature, place
            """,
            {"variants": steps["variant"].to_list(), "standing_out": list(standing_out), "layer": layer, "feature": feature},
        )
        return _courses(rows, steps["step"].to_numpy())

    def learned_over_steps(self, series: str) -> pd.DataFrame:
        """What each checkpoint, and its twins, learned or lost: rows of the table ``learned``, all slots together, with step.

        Empty without contributions.

        Raises:
            UserError: there is no such series.
        """
        steps = self._steps(series)
        if not self.has_contributions:
            return pd.DataFrame(columns=["step", "variant", "control", "domain", "gain", "low", "high", "kl", "n_clusters"])
        rows = self.sql(
            """
            SELECT variant, control, domain, gain, low, high, kl, n_clusters FROM contributions.learned
            WHERE slot = 'all' AND list_contains($variants::VARCHAR[], variant)
            ORDER BY list_position($variants::VARCHAR[], variant), domain, control
            """,
            {"variants": steps["variant"].to_list()},
        )
        return rows.assign(step=rows["variant"].map(steps.set_index("variant")["step"]).astype("int64"))

    def _steps(self, series: str) -> pd.DataFrame:
        rows = self.series()
        if (mine := rows[rows["series"] == series]).empty:
            raise UserError(f"The store has no series '{series}' of two steps or more.")
        return mine.reset_index(drop=True)


def _courses(rows: pd.DataFrame, steps: np.ndarray) -> pd.DataFrame:
    """See :meth:`Series.courses`; rows: layer, feature, place, change, claimed, label, label_source; steps: int [steps]."""
    features = rows.drop_duplicates(["layer", "feature"])[["layer", "feature", "label", "label_source"]].reset_index(drop=True)
    of = rows.groupby(["layer", "feature"], sort=False).ngroup().to_numpy()
    change = np.full((len(features), len(steps)), np.nan)
    change[of, rows["place"]] = rows["change"].astype(float)
    ways = np.full(change.shape, NOTHING)
    ways[of, rows["place"]] = np.where(rows["claimed"], np.where(rows["change"] < 0, FELL, ROSE), NOTHING)
    first, onset = first_claims(ways), onsets(ways)
    every = np.arange(len(features))
    latest = len(steps) - 1 - (ways[:, ::-1] != NOTHING).argmax(axis=1)
    sizes = np.nan_to_num(np.abs(change))
    found = features.assign(
        way=[CLAIMED[0] if way == FELL else CLAIMED[1] for way in ways[every, latest]],
        onset=_step_at(onset, steps),
        first=_step_at(first, steps),
        came_and_went=came_and_went(ways),
        turned=turned(ways),
        change=change[:, -1],
        largest=change[every, sizes.argmax(axis=1)],
        ways=pd.Series(ways.tolist(), dtype=object),
    )
    return found.sort_values(["onset", "came_and_went", "layer", "feature"], na_position="last", ignore_index=True)


def _step_at(numbers: np.ndarray, steps: np.ndarray) -> Any:
    """Steps by their numbers; null for NEVER."""
    return pd.array([None if at == NEVER else int(steps[at]) for at in numbers], dtype="Int64")
