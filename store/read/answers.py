"""Questions about what the models say: greedy answers to the same prompts."""

import pandas as pd

from store.read.connection import Connection


class Answers(Connection):
    """The answers that a run was given."""

    def answer_tasks(self) -> pd.DataFrame:
        """What the models were asked: task, n_prompts; no row in a store without answers."""
        return self.sql("SELECT task, count(DISTINCT prompt) AS n_prompts FROM answers GROUP BY task ORDER BY task")

    def answers(self, task: str | None = None) -> pd.DataFrame:
        """What the models answer to the same prompts, the base before the variants: task, prompt, text, model, answer.

        ``text`` is the prompt; it and the answers are untrusted. task None: every task.
        """
        return self.sql(
            """
            SELECT task, prompt, text, model, answer FROM answers WHERE $task::VARCHAR IS NULL OR task = $task
            ORDER BY task, prompt, model <> 'base', model
            """,
            {"task": task},
        )

    def telling_prompts(self) -> pd.DataFrame:
        """Of each task the prompt whose answers are least alike: task, prompt, distance; the least alike first.

        distance: the mean, over all pairs of models, of 1 - Jaccard of the two answers' words (whatever their case).
        """
        return self.sql(
            r"""
            WITH said AS (
                SELECT task, prompt, model, list_distinct(regexp_extract_all(lower(answer), '[\p{L}\p{N}]+')) AS words,
                       length(answer) AS size
                FROM answers
            ), pairs AS (
                SELECT a.task, a.prompt, len(list_intersect(a.words, b.words)) AS shared, len(a.words) + len(b.words) AS total,
                       a.size + b.size AS size
                FROM said a JOIN said b ON b.task = a.task AND b.prompt = a.prompt AND b.model > a.model
            ), prompts AS (
                SELECT task, prompt, avg(CASE WHEN total > 0 THEN 1 - shared / (total - shared) ELSE 0 END) AS distance,
                       sum(size) AS size
                FROM pairs GROUP BY task, prompt
            )
            SELECT task, prompt, distance FROM prompts
            QUALIFY row_number() OVER (PARTITION BY task ORDER BY distance DESC, size, prompt) = 1
            ORDER BY distance DESC, task
            """
        )
