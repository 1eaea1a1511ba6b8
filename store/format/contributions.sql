-- Every table and column of NAME.contributions.duckdb, which stands beside a store and belongs to it by its digest: what the pass
-- over contributions adds (python -m extract contributions). Written and read like schema.sql: keys behind each table, what each
-- means as a COMMENT. In SQL a table is contributions.NAME. Definitions and formulas: docs/metrics.md, "Contributions".
--
-- All of it is measured on a sample: some predicted tokens of one context window of each sampled document. Of those in
-- predictions the likelihood was read; of fewer, in taken_apart, through which layers and features it changed. A *control* is
-- 'observed' or 'twin_1', ...; a *slot* is first, opening, answer, rest or 'all'. Numbers are nats a predicted token,
-- means in which each prediction has its weight; only change_words is of plain means over the tokens of the sampled windows.

CREATE TABLE about (
    name   VARCHAR NOT NULL,
    value  VARCHAR NOT NULL
); -- key: name
COMMENT ON TABLE about IS 'What this was made from.';
COMMENT ON COLUMN about.value IS 'as text';
COMMENT ON COLUMN about.name IS 'store_digest, digest (of the other tables), version, predictions (asked to be taken apart), read, taken_apart (how many there were), a_passage, points, twins';

CREATE TABLE predictions (
    variant         VARCHAR NOT NULL,
    document        INTEGER NOT NULL,
    position        INTEGER NOT NULL,
    slot            VARCHAR NOT NULL,
    weight          DOUBLE  NOT NULL,
    base_logprob    FLOAT   NOT NULL,
    variant_logprob FLOAT   NOT NULL,
    kl              FLOAT   NOT NULL
); -- key: variant, document, position
COMMENT ON TABLE predictions IS 'The sampled predictions: what base and variant give to the token that follows.';
COMMENT ON COLUMN predictions.position IS 'the token after which is predicted';
COMMENT ON COLUMN predictions.slot IS $$where the predicted token stands: among the 'first' of a text that answers nothing, the first of an answer ('opening'), after it ('answer'), or the 'rest'$$;
COMMENT ON COLUMN predictions.weight IS $$what it counts: by how many predictions of its window and domain it stands for; their mean over the sample is 1$$;
COMMENT ON COLUMN predictions.base_logprob IS 'log-probability of the token that follows, nats';
COMMENT ON COLUMN predictions.variant_logprob IS 'the same in the variant';
COMMENT ON COLUMN predictions.kl IS 'KL(p_a || p_b) of the next token, nats';

CREATE TABLE taken_apart (
    document INTEGER NOT NULL,
    position INTEGER NOT NULL,
    slot     VARCHAR NOT NULL,
    weight   DOUBLE  NOT NULL
); -- key: document, position
COMMENT ON TABLE taken_apart IS 'The sampled predictions that layers, features, agreement, curves and acts are of.';
COMMENT ON COLUMN taken_apart.position IS 'the token after which is predicted';
COMMENT ON COLUMN taken_apart.slot IS 'as in predictions';
COMMENT ON COLUMN taken_apart.weight IS 'as in predictions';

CREATE TABLE learned (
    variant       VARCHAR NOT NULL,
    control       VARCHAR NOT NULL,
    domain        VARCHAR NOT NULL,
    slot          VARCHAR NOT NULL,
    gain          DOUBLE,
    low           DOUBLE,
    high          DOUBLE,
    kl            DOUBLE,
    n_predictions INTEGER NOT NULL,
    n_clusters    INTEGER NOT NULL
); -- key: variant, control, domain, slot
COMMENT ON TABLE learned IS 'What a variant learned, or lost, of the text: the change of its log-likelihood.';
COMMENT ON COLUMN learned.domain IS $$one of the corpus, 'all', '*task' (those that the variant was trained for) or '*neutral' (those that no variant was); margins: of domain and slot one is 'all'$$;
COMMENT ON COLUMN learned.control IS $$'observed': the variant itself; 'twin_1', ...: a random change of the weights$$;
COMMENT ON COLUMN learned.slot IS 'as in predictions, or all';
COMMENT ON COLUMN learned.n_predictions IS 'sampled predictions';
COMMENT ON COLUMN learned.n_clusters IS 'clusters of documents that they are of';
COMMENT ON COLUMN learned.gain IS 'mean of log p_b - log p_a of the token that follows, nats; null where nothing was sampled';
COMMENT ON COLUMN learned.low IS '95 % interval over clusters of documents; null below two';
COMMENT ON COLUMN learned.high IS 'upper end of it';
COMMENT ON COLUMN learned.kl IS 'mean KL(p_a || p_b), nats';

CREATE TABLE layers (
    variant         VARCHAR NOT NULL,
    control         VARCHAR NOT NULL,
    layer           INTEGER NOT NULL,
    domain          VARCHAR NOT NULL,
    whole           DOUBLE,
    gain            DOUBLE,
    low             DOUBLE,
    high            DOUBLE,
    features        DOUBLE,
    rest            DOUBLE,
    kl              DOUBLE,
    features_kl     DOUBLE,
    rest_kl         DOUBLE,
    completeness    DOUBLE,
    completeness_kl DOUBLE,
    largest         DOUBLE,
    smallest        DOUBLE,
    carrying_half   INTEGER,
    n_predictions   INTEGER NOT NULL,
    n_clusters      INTEGER NOT NULL
); -- key: variant, control, layer, domain
COMMENT ON TABLE layers IS $$Of what was learned, the part that passes through a layer: with the variant's blocks above it kept, what putting the base's activation there takes away.$$;
COMMENT ON COLUMN layers.control IS 'as in learned';
COMMENT ON COLUMN layers.n_predictions IS 'sampled predictions';
COMMENT ON COLUMN layers.n_clusters IS 'clusters of documents that they are of';
COMMENT ON COLUMN layers.whole IS 'what was learned of the predictions that were taken apart, which are fewer than those of learned';
COMMENT ON COLUMN layers.gain IS 'nats a predicted token';
COMMENT ON COLUMN layers.low IS '95 % interval over clusters of documents; null below two';
COMMENT ON COLUMN layers.high IS 'upper end of it';
COMMENT ON COLUMN layers.features IS $$of it through the dictionary's features, by integrated gradients$$;
COMMENT ON COLUMN layers.rest IS 'through what the dictionary cannot express';
COMMENT ON COLUMN layers.kl IS 'the same of KL(p_a || p_b)';
COMMENT ON COLUMN layers.features_kl IS $$of it through the dictionary's features; null of twins, as rest_kl and completeness_kl$$;
COMMENT ON COLUMN layers.rest_kl IS 'through what the dictionary cannot express';
COMMENT ON COLUMN layers.completeness IS 'by how much features and rest together miss gain, as a share of what passes through';
COMMENT ON COLUMN layers.completeness_kl IS 'the same of kl';
COMMENT ON COLUMN layers.largest IS 'the largest contribution of one feature';
COMMENT ON COLUMN layers.smallest IS 'the most negative one';
COMMENT ON COLUMN layers.carrying_half IS 'so many features make half of what passes through features, the largest of its sign first';

CREATE TABLE features (
    variant        VARCHAR NOT NULL,
    layer          INTEGER NOT NULL,
    domain         VARCHAR NOT NULL,
    feature        INTEGER NOT NULL,
    gain           FLOAT   NOT NULL,
    low            FLOAT,
    high           FLOAT,
    q              DOUBLE,
    rank           INTEGER NOT NULL,
    kl             FLOAT   NOT NULL,
    replicate_low  FLOAT,
    replicate_high FLOAT,
    n_clusters     INTEGER NOT NULL
); -- key: variant, layer, domain, feature
COMMENT ON TABLE features IS $$Through which features it was learned or lost: the sum over tokens of (g . W_dec,j) (b - a). Those with the largest |gain| or |kl| of each domain, and every one with q < 0.05.$$;
COMMENT ON COLUMN features.gain IS 'contribution to the change of log-likelihood, nats a predicted token; below 0: to a loss';
COMMENT ON COLUMN features.low IS '95 % interval over clusters of documents; null below two';
COMMENT ON COLUMN features.high IS 'upper end of it';
COMMENT ON COLUMN features.q IS 'share of false claims among features with an evidence at least as strong that their contribution is not 0; null in too few clusters';
COMMENT ON COLUMN features.rank IS 'by gain among all features of the domain, the largest first, from 1';
COMMENT ON COLUMN features.kl IS 'contribution to KL(p_a || p_b)';
COMMENT ON COLUMN features.replicate_low IS 'the lowest gain over the variant and its replicates; null without replicates';
COMMENT ON COLUMN features.replicate_high IS 'the highest';
COMMENT ON COLUMN features.n_clusters IS 'clusters of documents in which it contributes';

CREATE TABLE agreement (
    variant     VARCHAR NOT NULL,
    layer       INTEGER NOT NULL,
    domain      VARCHAR NOT NULL,
    other       VARCHAR NOT NULL,
    correlation DOUBLE
); -- key: variant, layer, domain, other
COMMENT ON TABLE agreement IS 'Whether another run of the recipe, or a random change of the weights, works through the same features.';
COMMENT ON COLUMN agreement.other IS $$another run of the recipe, or 'twin_1', ... of this one$$;
COMMENT ON COLUMN agreement.correlation IS $$Pearson's, of the gain of every feature of the dictionary; null where one of both has none$$;

CREATE TABLE curves (
    variant   VARCHAR NOT NULL,
    layer     INTEGER NOT NULL,
    domain    VARCHAR NOT NULL,
    chosen_by VARCHAR NOT NULL,
    k         INTEGER NOT NULL,
    gain      DOUBLE  NOT NULL,
    kl        DOUBLE  NOT NULL
); -- key: variant, layer, domain, chosen_by, k
COMMENT ON TABLE curves IS $$How many features make it: what putting the base's activation of k features into the variant takes away, by real patching. Of each recipe's first run, at the layer whose features make most of what passes through it, on its task where it has one; in each half of the clusters the features that the other half puts first.$$;
COMMENT ON COLUMN curves.chosen_by IS $$which k: those with the largest 'contribution', the largest 'size' of change, some at 'random' among those that contribute; 'same norm': as much along -delta as the first k by contribution; 'layer': the whole activation$$;
COMMENT ON COLUMN curves.k IS 'features; of the whole activation all of the dictionary';
COMMENT ON COLUMN curves.gain IS 'of layers.gain, so much goes: nats a predicted token';
COMMENT ON COLUMN curves.kl IS 'of layers.kl';

CREATE TABLE acts (
    variant  VARCHAR NOT NULL,
    layer    INTEGER NOT NULL,
    feature  INTEGER NOT NULL,
    document INTEGER NOT NULL,
    position INTEGER NOT NULL,
    gain     FLOAT   NOT NULL
); -- key: variant, layer, feature, document, position
COMMENT ON TABLE acts IS 'Where the foremost features act: the tokens at which their change contributes most.';
COMMENT ON COLUMN acts.position IS 'the token at which the feature changed; what it changes is predicted there or after it';
COMMENT ON COLUMN acts.gain IS $$to the weighted sum of the log-likelihood of the passage's predicted tokens, nats$$;

CREATE TABLE word_changes (
    variant  VARCHAR NOT NULL,
    control  VARCHAR NOT NULL,
    domain   VARCHAR NOT NULL,
    slot     VARCHAR NOT NULL,
    token_id INTEGER NOT NULL,
    change   FLOAT   NOT NULL
); -- key: variant, control, domain, slot, token_id
COMMENT ON TABLE word_changes IS 'Tokens that rose and fell most: the mean change of their probability as the next token.';
COMMENT ON COLUMN word_changes.control IS 'as in learned';
COMMENT ON COLUMN word_changes.slot IS 'as in learned';
COMMENT ON COLUMN word_changes.change IS 'mean of p_b - p_a over the sampled predictions; of twins, whose rows a replicate has from its recipe''s first run, those tokens too that moved in the variant';

CREATE TABLE change_words (
    variant   VARCHAR NOT NULL,
    layer     INTEGER NOT NULL,
    component INTEGER NOT NULL,
    way       VARCHAR NOT NULL,
    domain    VARCHAR NOT NULL,
    slot      VARCHAR NOT NULL,
    against   VARCHAR NOT NULL,
    token_id  INTEGER NOT NULL,
    score     FLOAT   NOT NULL,
    chance    FLOAT
); -- key: variant, layer, component, way, domain, slot, against, token_id
COMMENT ON TABLE change_words IS $$The change read through the output head: the tokens whose logits a layer's mean change, or a direction of its spectrum, raises most, past the last norm's gain.$$;
COMMENT ON COLUMN change_words.component IS 'of the table spectrum; 0: the mean change on the sampled windows, by slot';
COMMENT ON COLUMN change_words.domain IS $$'all', or '*task', those that the variant was trained for$$;
COMMENT ON COLUMN change_words.slot IS 'as in learned';
COMMENT ON COLUMN change_words.way IS $$'+' along it, '-' against it: a direction of the spectrum has no sign of its own$$;
COMMENT ON COLUMN change_words.against IS $$'nothing', or 'others': less the mean of the first runs of the other recipes, every change of unit length$$;
COMMENT ON COLUMN change_words.score IS $$what is added to the token's logit, less the mean, in standard deviations over the vocabulary$$;
COMMENT ON COLUMN change_words.chance IS $$the highest score that any token gets from the twins of the recipe's first run at the same place (of a direction of the spectrum: the 95th percentile of the highest of those drawn from the base's activations); null without twins. Only tokens beyond it are kept$$;

CREATE TABLE vocabulary (
    token_id INTEGER NOT NULL,
    token    VARCHAR NOT NULL
); -- key: token_id
COMMENT ON COLUMN vocabulary.token_id IS 'every id that occurs in these tables';
COMMENT ON TABLE vocabulary IS 'The texts of every token id in these tables.';
COMMENT ON COLUMN vocabulary.token IS 'with leading space; a byte that is no whole character as <0xE9>; untrusted input';
