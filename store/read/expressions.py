"""SQL expressions that several questions share. They call tables as the questions do: s is feature_stats, f is features, t is
tokens (or anything with a token_id), v is vocabulary."""

FLOOR_RATIO = "CASE WHEN s.floor > 0 THEN abs(s.shift) / s.floor WHEN s.floor = 0 AND s.shift <> 0 THEN 'infinity'::DOUBLE END"
"""|shift| over what noise of the same size does to features of like frequency; null without a floor, or where neither moves."""

READABLE = "coalesce(f.label_source <> 'automatic' OR (contains(f.label, '“') AND NOT contains(f.label, '(fires on')), false)"
"""Whether a label names something: one that somebody gave, or an automatic one that quotes tokens, and not as an example of
many (extract/tables/labels.py)."""

TOKEN_TEXT = "coalesce(v.token, '⟨' || t.token_id || '⟩')"
"""A token's text by itself; its number where the vocabulary lacks it. Needs WITH_TEXTS."""

WITH_TEXTS = "LEFT JOIN vocabulary v ON v.token_id = t.token_id"
