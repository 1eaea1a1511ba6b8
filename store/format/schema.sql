-- Every table and column of statistics.duckdb. A store is immutable once finished; the app opens it read-only.
--
-- Keys stand as comments, not constraints, because DuckDB keeps an index for a constraint that is larger than the table.
-- store/format/tables.py reads them from here: rows are stored in key order, or in another `order` where that compresses better,
-- and the writer refuses a key that is not unique.
--
-- Words: a *layer* is a decoder block, read at resid_post, with one dictionary (SAE). A *model* is 'base' or a variant's
-- name. A *domain* is a label of the corpus or 'all'; a *segment* is text, template, prompt, response or 'all'.
-- Activations are *scaled*: raw code x ||W_dec,j||. Definitions and formulas: docs/metrics.md and store/metrics/layer.py.
-- VIRTUAL columns take no space: they are worked out when read. FLOAT is where seven digits are plenty.

CREATE TABLE layers (
    layer         INTEGER NOT NULL, -- decoder block, counted from 0
    hook_name     VARCHAR NOT NULL,    -- as the dictionary names it
    sae           VARCHAR NOT NULL,    -- release and id, or folder name
    architecture  VARCHAR NOT NULL,    -- sae-lens architecture: jumprelu, topk, standard, ...
    d_model       INTEGER NOT NULL,    -- width of the residual stream
    d_sae         INTEGER NOT NULL,    -- number of features
    n_tokens      BIGINT  NOT NULL,    -- tokens that count at this layer, all domains
    n_sinks       BIGINT  NOT NULL,    -- tokens left out as attention sinks at this layer
    median_norm   DOUBLE  NOT NULL,    -- median ||h_a|| in the pilot; a sink is beyond `sink_factor` times it
    mean_norm     DOUBLE  NOT NULL,    -- ||mu||, mu the base's mean residual in the pilot
    code_scale    DOUBLE  NOT NULL,    -- power of two; stored float16 code x code_scale = raw code
    self_test_fvu DOUBLE  NOT NULL,    -- fvu of the dictionary on the pilot's base residuals
    self_test_l0  DOUBLE  NOT NULL,    -- mean number of active features there
    neuronpedia   VARCHAR              -- 'model/source' on neuronpedia.org, where the dictionary has one
); -- key: layer

CREATE TABLE documents (
    document   INTEGER NOT NULL, -- number in the run, in reading order of the parts
    source     VARCHAR NOT NULL,    -- unique id of the text: given in the corpus, or file:line
    domain     VARCHAR NOT NULL,
    part       INTEGER NOT NULL,    -- latents/part-<part>.h5; -1 where has_codes is false
    first_row  INTEGER NOT NULL,    -- row of the document's first token in that part; -1 likewise
    n_tokens   INTEGER NOT NULL,    -- document tokens (the BOS put before each window is not one)
    has_codes  BOOLEAN NOT NULL     -- whether this store kept the document's codes in the part
); -- key: document

CREATE TABLE tokens (
    document  INTEGER NOT NULL,
    position  INTEGER NOT NULL, -- token of the document, from 0; its row in the part is first_row + position
    context   INTEGER NOT NULL, -- context window of the document that the models saw it in, from 0
    token_id  INTEGER NOT NULL,
    segment   VARCHAR NOT NULL
); -- key: document, position

CREATE TABLE vocabulary (
    token_id  INTEGER NOT NULL, -- every id that occurs anywhere in this store
    token     VARCHAR NOT NULL     -- its text, with leading space; a byte that is no whole character as <0xE9>; untrusted input
); -- key: token_id

CREATE TABLE features (
    layer             INTEGER NOT NULL,
    feature           INTEGER NOT NULL,  -- index in the dictionary
    decoder_norm      DOUBLE  NOT NULL,  -- ||W_dec,j||
    density           DOUBLE  NOT NULL,  -- share of the counted tokens where it fires in the base
    label             VARCHAR,           -- null: none yet
    label_source      VARCHAR,           -- 'automatic' or where it was imported from
    promoted          INTEGER[],         -- token ids whose logits its decoder direction raises most, most first
    promoted_logits   FLOAT[],           -- direct effect on the logit per unit of scaled activation, before the final norm's scale
    suppressed        INTEGER[],         -- token ids whose logits it lowers most, most first
    suppressed_logits FLOAT[],
    neighbours        INTEGER[],         -- features of the same dictionary with the most similar decoder rows, nearest first
    neighbour_cosines FLOAT[]            -- cosine of the two decoder rows
); -- key: layer, feature

CREATE TABLE layer_metrics (
    variant     VARCHAR NOT NULL,
    layer       INTEGER NOT NULL,
    domain      VARCHAR NOT NULL,
    segment     VARCHAR NOT NULL, -- domains and segments are margins: one of the two is always 'all'
    metric      VARCHAR NOT NULL, -- a name of docs/metrics.md: cosine, overlap, l0_base, fvu_variant, ...
    control     VARCHAR NOT NULL, -- 'observed', or the control that was encoded instead of the variant
    value       DOUBLE,           -- null: undefined here (nothing to divide by)
    low         DOUBLE,           -- 95 % interval over documents; null: too few documents, or the metric has none
    high        DOUBLE,           -- upper end of the interval
    excess      DOUBLE,           -- of a control's row: how much more changed than under the control (docs/metrics.md)
    excess_low  DOUBLE,           -- 95 % interval of the excess over documents
    excess_high DOUBLE,           -- upper end of it
    n_tokens    BIGINT NOT NULL,
    n_documents BIGINT NOT NULL
); -- key: variant, layer, domain, segment, metric, control

CREATE TABLE fit (
    variant     VARCHAR NOT NULL,
    layer       INTEGER NOT NULL,
    domain      VARCHAR NOT NULL,
    fvu_base    DOUBLE,
    fvu_variant DOUBLE,
    gate        VARCHAR NOT NULL  -- 'fits', 'strained' or 'does not fit': whether feature claims can be trusted here
); -- key: variant, layer, domain

-- A row only where the feature fired in base or variant.
CREATE TABLE feature_stats (
    variant         VARCHAR NOT NULL,
    layer           INTEGER NOT NULL,
    domain          VARCHAR NOT NULL,
    feature         INTEGER NOT NULL,
    n_tokens        BIGINT  NOT NULL, -- N: tokens of the domain that count at the layer
    n11             BIGINT  NOT NULL, -- tokens where it fires in both
    n10             BIGINT  NOT NULL, -- in the base only
    n01             BIGINT  NOT NULL, -- in the variant only
    n_documents     BIGINT  NOT NULL, -- documents where it fires in either
    freq_base       DOUBLE GENERATED ALWAYS AS ((n11 + n10) / n_tokens) VIRTUAL, -- share of the N tokens
    freq_variant    DOUBLE GENERATED ALWAYS AS ((n11 + n01) / n_tokens) VIRTUAL, -- share of the N tokens
    log_ratio       DOUBLE GENERATED ALWAYS AS (log2((n11 + n01 + 0.5) / (n11 + n10 + 0.5))) VIRTUAL, -- n_b against n_a
    suppression     DOUBLE GENERATED ALWAYS AS (n10 / nullif(n11 + n10, 0)) VIRTUAL, -- null where the base never fires
    emergence       DOUBLE GENERATED ALWAYS AS (n01 / nullif(n11 + n01, 0)) VIRTUAL, -- null where the variant never fires
    mean_base       FLOAT   NOT NULL, -- mean scaled activation over the N tokens
    shift           FLOAT   NOT NULL, -- mean of (b - a) over the N tokens
    mean_variant    DOUBLE GENERATED ALWAYS AS (greatest(mean_base::DOUBLE + shift, 0)) VIRTUAL, -- mean of b
    kind            VARCHAR NOT NULL, -- vanished, attenuated, unchanged, amplified, appeared
    -- Evidence; null in a store without the isotropic control.
    shift_isotropic    FLOAT,         -- mean of (c - a), c the code under the isotropic control
    floor              FLOAT,         -- 99th percentile of |shift_isotropic| over features of like frequency
    -- From here on pooled: null but for domain 'all'.
    std_shift          FLOAT,         -- shift / pooled standard deviation
    magnitude_ratio    FLOAT,         -- sum b / sum a over tokens where both fire
    z                  FLOAT,         -- over documents, of b - c summed in each; null where it varies nowhere
    q                  DOUBLE,        -- Benjamini-Hochberg over the testable features; null where untestable
    near_threshold     FLOAT,         -- share of n10 + n01 within 5 % of the threshold; null: no threshold, or no flips
    minimum_detectable FLOAT,         -- |shift| that this many documents would have found with power 0.8
    did_shift          FLOAT,         -- shift on the variant's task - shift on neutral text; null: no task given
    moved_to           INTEGER,       -- the decoder neighbour that moved the other way, where the verdict is 'moved'
    verdict            VARCHAR        -- suppressed, amplified, moved, does not fit, near threshold, within noise, untestable
); -- key: variant, layer, domain, feature; order: variant, layer, domain, n11 + n10, feature

-- The same counts by segment, all domains together: what of a shift sits on the chat template's own tokens.
CREATE TABLE feature_segments (
    variant      VARCHAR NOT NULL,
    layer        INTEGER NOT NULL,
    segment      VARCHAR NOT NULL,
    feature      INTEGER NOT NULL,
    n11          BIGINT  NOT NULL, -- tokens of the segment where it fires in both
    n10          BIGINT  NOT NULL, -- in the base only
    n01          BIGINT  NOT NULL, -- in the variant only
    mean_base    FLOAT   NOT NULL, -- over the counted tokens of the segment
    shift        FLOAT   NOT NULL, -- mean of (b - a) over the counted tokens of the segment
    mean_variant DOUBLE GENERATED ALWAYS AS (greatest(mean_base::DOUBLE + shift, 0)) VIRTUAL, -- mean of b
    share        FLOAT             -- the segment's part of the sum of (b - a) over all tokens; null where that sum is 0
); -- key: variant, layer, segment, feature

-- The shape of the change: principal directions of delta = h_b - h_a about its mean, all domains together.
CREATE TABLE spectrum (
    variant    VARCHAR   NOT NULL,
    layer      INTEGER   NOT NULL,
    component  INTEGER   NOT NULL, -- 0: the mean of delta; from 1: eigenvectors of its covariance, largest first
    share      DOUBLE    NOT NULL, -- part of sum ||delta||^2 that lies along it
    direction  FLOAT[]   NOT NULL, -- [d_model], unit length
    features   INTEGER[] NOT NULL, -- features whose decoder rows have the largest |cosine| with it, largest first
    cosines    FLOAT[]   NOT NULL, -- those cosines, signed
    chance     DOUBLE    NOT NULL  -- 95th percentile of the largest |cosine| that a random direction drawn from the covariance of h_a reaches
); -- key: variant, layer, component

-- Would another dictionary show the same? A second dictionary of a layer over the same tokens, matched by decoder cosine.
CREATE TABLE replicas (
    variant         VARCHAR NOT NULL,
    layer           INTEGER NOT NULL,
    feature         INTEGER NOT NULL, -- of the layer's own dictionary
    replica_feature INTEGER NOT NULL, -- of the second one: the decoder row nearest to it
    cosine          FLOAT   NOT NULL, -- of the two decoder rows
    freq_base       FLOAT   NOT NULL, -- of the replica feature, over the same counted tokens
    freq_variant    FLOAT   NOT NULL,
    log_ratio       FLOAT   NOT NULL, -- of its firings, as in feature_stats
    shift           FLOAT   NOT NULL, -- of the replica feature
    std_shift       FLOAT             -- shift / pooled standard deviation
); -- key: variant, layer, feature

-- Where the prediction changed, on a sample of documents (optional pass).
CREATE TABLE token_kl (
    variant         VARCHAR NOT NULL,
    document        INTEGER NOT NULL,
    position        INTEGER NOT NULL, -- the token after which is predicted
    kl              FLOAT   NOT NULL, -- KL(p_a || p_b) of the next token, nats
    base_logprob    FLOAT,            -- log-probability of the token that follows, nats; null where none does in this window
    variant_logprob FLOAT             -- the same in the variant
); -- key: variant, document, position

-- token_kl joined to features: whether a feature's change sits where the prediction changed.
CREATE TABLE feature_kl (
    variant          VARCHAR NOT NULL,
    layer            INTEGER NOT NULL,
    feature          INTEGER NOT NULL,
    n_tokens         BIGINT  NOT NULL, -- sampled tokens where it changed (a <> b)
    kl_where_changed FLOAT   NOT NULL, -- mean kl over the sampled tokens weighted by |b - a|
    kl_ratio         FLOAT             -- that / mean kl over all sampled tokens that count
); -- key: variant, layer, feature

-- What the models say: greedy answers to fixed prompts, made beside the run and given to it.
CREATE TABLE answers (
    task   VARCHAR NOT NULL, -- what the prompts ask for, e.g. a sum
    prompt INTEGER NOT NULL, -- number within the task, from 0
    model  VARCHAR NOT NULL, -- 'base' or a variant
    text   VARCHAR NOT NULL, -- the prompt as the user typed it; untrusted
    answer VARCHAR NOT NULL  -- untrusted
); -- key: task, prompt, model

-- The window's texts are tokens of the document from position - peak on; Store.contexts puts both together.
CREATE TABLE contexts (
    variant             VARCHAR NOT NULL,
    layer               INTEGER NOT NULL,
    feature             INTEGER NOT NULL,
    ranking             VARCHAR NOT NULL, -- 'base', 'variant', 'increase', 'decrease': by a, b, b - a, a - b at the peak;
                                          -- 'spread': by chance, of all tokens where it fires in base or variant
    rank                INTEGER NOT NULL, -- from 1
    score               FLOAT   NOT NULL, -- what was ranked by: scaled activation, or the draw from (0, 1)
    document            INTEGER NOT NULL,
    position            INTEGER NOT NULL, -- the peak token in its document
    peak                INTEGER NOT NULL, -- tokens of the window before the peak
    n_window            INTEGER NOT NULL, -- tokens of the window, within the context window the models saw
    base_at             USMALLINT[] NOT NULL, -- tokens of the window, from 0, where this feature fires in the base
    base_activations    FLOAT[]     NOT NULL, -- its scaled activation there
    variant_at          USMALLINT[] NOT NULL, -- the same in the variant
    variant_activations FLOAT[]     NOT NULL -- its scaled activation there
); -- key: variant, layer, feature, ranking, rank

CREATE TABLE histogram_bins (
    layer  INTEGER NOT NULL,
    bin    INTEGER NOT NULL,
    low    DOUBLE  NOT NULL, -- scaled activation, half-octave bins shared by all models and features of the layer
    high   DOUBLE  NOT NULL  -- the first and last bin also hold what lies beyond
); -- key: layer, bin

CREATE TABLE histograms (
    layer   INTEGER NOT NULL,
    feature INTEGER NOT NULL,
    model   VARCHAR NOT NULL, -- 'base' or a variant
    bin     INTEGER NOT NULL,
    count   BIGINT  NOT NULL  -- tokens whose activation falls in the bin; bins without tokens have no row
); -- key: layer, feature, model, bin

CREATE TABLE token_metrics (
    variant       VARCHAR NOT NULL,
    layer         INTEGER NOT NULL,
    document      INTEGER NOT NULL,
    position      INTEGER NOT NULL,
    cosine        FLOAT NOT NULL, -- cos(h_a, h_b)
    overlap       FLOAT NOT NULL, -- Jaccard of the active sets
    l1_divergence FLOAT NOT NULL, -- ||b - a||_1
    l0_base       INTEGER NOT NULL,
    l0_variant    INTEGER NOT NULL
); -- key: variant, layer, document, position

-- The additive sums per document that layer_metrics is made from: for intervals, and for other groupings in a notebook.
CREATE TABLE document_sums (
    variant                VARCHAR NOT NULL,
    layer                  INTEGER NOT NULL,
    document               INTEGER NOT NULL,
    segment                VARCHAR NOT NULL,
    n_tokens               BIGINT NOT NULL, -- tokens that count
    cosine                 FLOAT  NOT NULL, -- sum of cos(h_a, h_b)
    centred_cosine         FLOAT  NOT NULL, -- sum of cos(h_a - mu, h_b - mu)
    base_norm2             FLOAT  NOT NULL, -- sum ||h_a||^2
    variant_norm2          FLOAT  NOT NULL, -- sum ||h_b||^2
    base_centred2          FLOAT  NOT NULL, -- sum ||h_a - mu||^2
    variant_centred2       FLOAT  NOT NULL, -- sum ||h_b - mu||^2
    delta_norm2            FLOAT  NOT NULL, -- sum ||h_b - h_a||^2
    base_error2            FLOAT  NOT NULL, -- sum ||h_a - dec(a)||^2
    variant_error2         FLOAT  NOT NULL, -- sum ||h_b - dec(b)||^2
    delta_error2           FLOAT  NOT NULL, -- sum ||delta - (dec(b) - dec(a))||^2
    overlap                FLOAT  NOT NULL, -- sum of the tokens' Jaccard
    minimum                FLOAT  NOT NULL, -- sum min(a, b)
    maximum                FLOAT  NOT NULL, -- sum max(a, b)
    latent_cosine          FLOAT  NOT NULL, -- sum of cos(a, b)
    n_latent_cosine        BIGINT NOT NULL, -- tokens it is defined on: a code in base or variant
    l1_divergence          FLOAT  NOT NULL, -- sum ||b - a||_1
    code_delta_norm2       FLOAT  NOT NULL, -- sum ||b - a||_2^2
    l0_base                BIGINT NOT NULL, -- sum of active features
    l0_variant             BIGINT NOT NULL
); -- key: variant, layer, document, segment
