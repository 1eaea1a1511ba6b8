-- Every table and column of statistics.duckdb. A store is immutable once finished; the app opens it read-only. What each means
-- is a COMMENT of the database, so that it travels with the store (duckdb_tables(), duckdb_columns()) and the app can show it.
--
-- Keys stand behind each table, not as constraints, because DuckDB keeps an index for a constraint that is larger than the
-- table. store/format/tables.py reads them from here: rows are stored in key order, or in another `order` where that compresses
-- better, and the writer refuses a key that is not unique.
--
-- Words: a *layer* is a decoder block, read at resid_post, with one dictionary (SAE). A *model* is 'base' or a variant's
-- name. A *domain* is a label of the corpus or 'all'; a *segment* is text, template, prompt, response or 'all'.
-- Activations are *scaled*: raw code x ||W_dec,j||. Definitions and formulas: docs/metrics.md and store/metrics/layer_metrics.py.
-- VIRTUAL columns take no space: they are worked out when read. FLOAT is where seven digits are plenty.

CREATE TABLE layers (
    layer         INTEGER NOT NULL,
    hook_name     VARCHAR NOT NULL,
    sae           VARCHAR NOT NULL,
    architecture  VARCHAR NOT NULL,
    d_model       INTEGER NOT NULL,
    d_sae         INTEGER NOT NULL,
    n_tokens      BIGINT  NOT NULL,
    n_sinks       BIGINT  NOT NULL,
    median_norm   DOUBLE  NOT NULL,
    mean_norm     DOUBLE  NOT NULL,
    code_scale    DOUBLE  NOT NULL,
    self_test_fvu DOUBLE  NOT NULL,
    self_test_l0  DOUBLE  NOT NULL,
    neuronpedia   VARCHAR
); -- key: layer
COMMENT ON COLUMN layers.layer IS 'decoder block, counted from 0';
COMMENT ON COLUMN layers.hook_name IS 'as the dictionary names it';
COMMENT ON COLUMN layers.sae IS 'release and id, or folder name';
COMMENT ON COLUMN layers.architecture IS 'sae-lens architecture: jumprelu, topk, standard, ...';
COMMENT ON COLUMN layers.d_model IS 'width of the residual stream';
COMMENT ON COLUMN layers.d_sae IS 'number of features';
COMMENT ON COLUMN layers.n_tokens IS 'tokens that count at this layer, all domains';
COMMENT ON COLUMN layers.n_sinks IS 'tokens left out as attention sinks at this layer';
COMMENT ON COLUMN layers.median_norm IS 'median ||h_a|| in the pilot; a sink is beyond `sink_factor` times it';
COMMENT ON COLUMN layers.mean_norm IS $$||mu||, mu the base's mean residual in the pilot$$;
COMMENT ON COLUMN layers.code_scale IS 'power of two; stored float16 code x code_scale = raw code';
COMMENT ON COLUMN layers.self_test_fvu IS $$fvu of the dictionary on the pilot's base residuals$$;
COMMENT ON COLUMN layers.self_test_l0 IS 'mean number of active features there';
COMMENT ON COLUMN layers.neuronpedia IS $$'model/source' on neuronpedia.org, where the dictionary has one$$;

CREATE TABLE documents (
    document   INTEGER NOT NULL,
    source     VARCHAR NOT NULL,
    domain     VARCHAR NOT NULL,
    cluster    VARCHAR NOT NULL,
    part       INTEGER NOT NULL,
    first_row  INTEGER NOT NULL,
    n_tokens   INTEGER NOT NULL,
    has_codes  BOOLEAN NOT NULL
); -- key: document
COMMENT ON COLUMN documents.document IS 'number in the run, in reading order of the parts';
COMMENT ON COLUMN documents.source IS 'unique id of the text: given in the corpus, or file:line';
COMMENT ON COLUMN documents.cluster IS $$what it was made from, with other documents of its domain: a template, an article, a work; its source where none is given$$;
COMMENT ON COLUMN documents.part IS 'latents/part-<part>.h5; -1 where has_codes is false';
COMMENT ON COLUMN documents.first_row IS $$row of the document's first token in that part; -1 likewise$$;
COMMENT ON COLUMN documents.n_tokens IS 'document tokens (the BOS put before each window is not one)';
COMMENT ON COLUMN documents.has_codes IS $$whether this store kept the document's codes in the part$$;

CREATE TABLE tokens (
    document  INTEGER NOT NULL,
    position  INTEGER NOT NULL,
    context   INTEGER NOT NULL,
    token_id  INTEGER NOT NULL,
    segment   VARCHAR NOT NULL
); -- key: document, position
COMMENT ON COLUMN tokens.position IS 'token of the document, from 0; its row in the part is first_row + position';
COMMENT ON COLUMN tokens.context IS 'context window of the document that the models saw it in, from 0';

CREATE TABLE vocabulary (
    token_id  INTEGER NOT NULL,
    token     VARCHAR NOT NULL
); -- key: token_id
COMMENT ON COLUMN vocabulary.token_id IS 'every id that occurs anywhere in this store';
COMMENT ON COLUMN vocabulary.token IS 'its text, with leading space; a byte that is no whole character as <0xE9>; untrusted input';

CREATE TABLE features (
    layer             INTEGER NOT NULL,
    feature           INTEGER NOT NULL,
    decoder_norm      DOUBLE  NOT NULL,
    density           DOUBLE  NOT NULL,
    label             VARCHAR,
    label_source      VARCHAR,
    promoted          INTEGER[],
    promoted_logits   FLOAT[],
    suppressed        INTEGER[],
    suppressed_logits FLOAT[],
    neighbours        INTEGER[],
    neighbour_cosines FLOAT[]
); -- key: layer, feature
COMMENT ON COLUMN features.feature IS 'index in the dictionary';
COMMENT ON COLUMN features.decoder_norm IS '||W_dec,j||';
COMMENT ON COLUMN features.density IS 'share of the counted tokens where it fires in the base';
COMMENT ON COLUMN features.label IS 'null: none yet';
COMMENT ON COLUMN features.label_source IS $$'automatic' or where it was imported from$$;
COMMENT ON COLUMN features.promoted IS 'token ids whose logits its decoder direction raises most, most first';
COMMENT ON COLUMN features.promoted_logits IS $$direct effect on the logit per unit of scaled activation, before the final norm's scale$$;
COMMENT ON COLUMN features.suppressed IS 'token ids whose logits it lowers most, most first';
COMMENT ON COLUMN features.neighbours IS 'features of the same dictionary with the most similar decoder rows, nearest first';
COMMENT ON COLUMN features.neighbour_cosines IS 'cosine of the two decoder rows';

CREATE TABLE layer_metrics (
    variant     VARCHAR NOT NULL,
    layer       INTEGER NOT NULL,
    domain      VARCHAR NOT NULL,
    segment     VARCHAR NOT NULL,
    metric      VARCHAR NOT NULL,
    control     VARCHAR NOT NULL,
    value       DOUBLE,
    low         DOUBLE,
    high        DOUBLE,
    excess      DOUBLE,
    excess_low  DOUBLE,
    excess_high DOUBLE,
    n_tokens    BIGINT NOT NULL,
    n_documents BIGINT NOT NULL,
    n_clusters  BIGINT NOT NULL
); -- key: variant, layer, domain, segment, metric, control
COMMENT ON COLUMN layer_metrics.segment IS $$domains and segments are margins: one of the two is always 'all'$$;
COMMENT ON COLUMN layer_metrics.metric IS 'a name of docs/metrics.md: cosine, overlap, l0_base, fvu_variant, ...';
COMMENT ON COLUMN layer_metrics.control IS $$'observed', the control that was encoded instead of the variant, or 'twin_1', ...: a random change of the weights$$;
COMMENT ON COLUMN layer_metrics.value IS 'null: undefined here (nothing to divide by)';
COMMENT ON COLUMN layer_metrics.low IS '95 % interval over clusters of documents; null: too few clusters, or the metric has none';
COMMENT ON COLUMN layer_metrics.high IS 'upper end of the interval';
COMMENT ON COLUMN layer_metrics.excess IS $$of a control's or twin's row: how much more changed than under it (docs/metrics.md)$$;
COMMENT ON COLUMN layer_metrics.n_clusters IS 'clusters of documents (documents.cluster)';
COMMENT ON COLUMN layer_metrics.excess_low IS '95 % interval of the excess over clusters';
COMMENT ON COLUMN layer_metrics.excess_high IS 'upper end of it';

CREATE TABLE fit (
    variant     VARCHAR NOT NULL,
    layer       INTEGER NOT NULL,
    domain      VARCHAR NOT NULL,
    fvu_base    DOUBLE,
    fvu_variant DOUBLE,
    gate        VARCHAR NOT NULL
); -- key: variant, layer, domain
COMMENT ON COLUMN fit.gate IS $$'fits', 'strained' or 'does not fit': whether feature claims can be trusted here$$;

CREATE TABLE feature_stats (
    variant         VARCHAR NOT NULL,
    layer           INTEGER NOT NULL,
    domain          VARCHAR NOT NULL,
    feature         INTEGER NOT NULL,
    n_tokens        BIGINT  NOT NULL,
    n11             BIGINT  NOT NULL,
    n10             BIGINT  NOT NULL,
    n01             BIGINT  NOT NULL,
    n_documents     BIGINT  NOT NULL,
    n_clusters      BIGINT  NOT NULL,
    freq_base       DOUBLE GENERATED ALWAYS AS ((n11 + n10) / n_tokens) VIRTUAL,
    freq_variant    DOUBLE GENERATED ALWAYS AS ((n11 + n01) / n_tokens) VIRTUAL,
    log_ratio       DOUBLE GENERATED ALWAYS AS (log2((n11 + n01 + 0.5) / (n11 + n10 + 0.5))) VIRTUAL,
    suppression     DOUBLE GENERATED ALWAYS AS (n10 / nullif(n11 + n10, 0)) VIRTUAL,
    emergence       DOUBLE GENERATED ALWAYS AS (n01 / nullif(n11 + n01, 0)) VIRTUAL,
    mean_base       FLOAT   NOT NULL,
    shift           FLOAT   NOT NULL,
    mean_variant    DOUBLE GENERATED ALWAYS AS (greatest(mean_base::DOUBLE + shift, 0)) VIRTUAL,
    change          DOUBLE GENERATED ALWAYS AS (shift / nullif(greatest(mean_base::DOUBLE, mean_base::DOUBLE + shift), 0)) VIRTUAL,
    loss            DOUBLE GENERATED ALWAYS AS (CASE WHEN shift < 0 THEN least(-shift / nullif(mean_base::DOUBLE, 0), 1) END) VIRTUAL,
    gain            DOUBLE GENERATED ALWAYS AS (CASE WHEN shift > 0 THEN (mean_base::DOUBLE + shift) / nullif(mean_base::DOUBLE, 0) END) VIRTUAL,
    kind            VARCHAR NOT NULL,
    change_low      FLOAT,
    change_high     FLOAT,
    detectable_loss FLOAT,
    change_rescaled FLOAT,
    twin_low        FLOAT,
    twin_high       FLOAT,
    q_twin          DOUBLE,
    replicate_low   FLOAT,
    replicate_high  FLOAT,
    q_replicates    DOUBLE,
    std_shift       FLOAT,
    magnitude_ratio FLOAT,
    near_threshold  FLOAT,
    did_shift       FLOAT,
    moved_to        INTEGER,
    verdict         VARCHAR,
    reason          VARCHAR
); -- key: variant, layer, domain, feature; order: variant, layer, domain, n11 + n10, feature
COMMENT ON TABLE feature_stats IS 'A row only where the feature fired in base or variant.';
COMMENT ON COLUMN feature_stats.n_tokens IS 'N: tokens of the domain that count at the layer';
COMMENT ON COLUMN feature_stats.n11 IS 'tokens where it fires in both';
COMMENT ON COLUMN feature_stats.n10 IS 'in the base only';
COMMENT ON COLUMN feature_stats.n01 IS 'in the variant only';
COMMENT ON COLUMN feature_stats.n_documents IS 'documents where it fires in either';
COMMENT ON COLUMN feature_stats.freq_base IS 'share of the N tokens';
COMMENT ON COLUMN feature_stats.freq_variant IS 'share of the N tokens';
COMMENT ON COLUMN feature_stats.log_ratio IS 'n_b against n_a';
COMMENT ON COLUMN feature_stats.suppression IS 'null where the base never fires';
COMMENT ON COLUMN feature_stats.emergence IS 'null where the variant never fires';
COMMENT ON COLUMN feature_stats.mean_base IS 'mean scaled activation over the N tokens';
COMMENT ON COLUMN feature_stats.shift IS 'mean of (b - a) over the N tokens';
COMMENT ON COLUMN feature_stats.mean_variant IS 'mean of b';
COMMENT ON COLUMN feature_stats.n_clusters IS 'clusters of documents where it fires in either';
COMMENT ON COLUMN feature_stats.change IS $$(sum b - sum a) / the larger of the two: -1 all lost, -0.5 lost half, 0.5 doubled, 1 all new$$;
COMMENT ON COLUMN feature_stats.loss IS $$share of the base's activation that is lost, where it fell: 1 - sum b / sum a$$;
COMMENT ON COLUMN feature_stats.gain IS $$how many times the base's activation, where it rose: sum b / sum a; null where the base has none$$;
COMMENT ON COLUMN feature_stats.kind IS $$by change: vanished (9 tenths lost), weakened (materially less), steady, strengthened, appeared$$;
COMMENT ON COLUMN feature_stats.change_low IS $$95 % interval of change over clusters (null but for domain 'all')$$;
COMMENT ON COLUMN feature_stats.change_high IS $$upper end of it (null but for domain 'all')$$;
COMMENT ON COLUMN feature_stats.detectable_loss IS $$the smallest loss that would have been claimed; null: not even a complete one would (null but for domain 'all')$$;
COMMENT ON COLUMN feature_stats.change_rescaled IS $$change against the base at the variant's norm, token by token; null without that control (null but for domain 'all')$$;
COMMENT ON COLUMN feature_stats.twin_low IS $$the lowest change that this feature has in the variant's twins; null without twins (null but for domain 'all')$$;
COMMENT ON COLUMN feature_stats.twin_high IS $$the highest (null but for domain 'all')$$;
COMMENT ON COLUMN feature_stats.q_twin IS $$share of false claims among features that change at least as much that way, estimated from the twins; null where it could not be seen or is not material (null but for domain 'all')$$;
COMMENT ON COLUMN feature_stats.replicate_low IS $$the lowest change over the variant and its replicates; null without replicates (null but for domain 'all')$$;
COMMENT ON COLUMN feature_stats.replicate_high IS $$the highest (null but for domain 'all')$$;
COMMENT ON COLUMN feature_stats.q_replicates IS $$as q_twin, of a change that every replicate has; null where one has it not (null but for domain 'all')$$;
COMMENT ON COLUMN feature_stats.std_shift IS $$shift / pooled standard deviation (null but for domain 'all')$$;
COMMENT ON COLUMN feature_stats.magnitude_ratio IS $$sum b / sum a over tokens where both fire (null but for domain 'all')$$;
COMMENT ON COLUMN feature_stats.near_threshold IS $$share of n10 + n01 within 5 % of the threshold; null: no threshold, or no flips (null but for domain 'all')$$;
COMMENT ON COLUMN feature_stats.did_shift IS $$shift on the variant's task - shift on neutral text; null: no task given (null but for domain 'all')$$;
COMMENT ON COLUMN feature_stats.moved_to IS $$the nearest decoder neighbour that changed materially the other way, of a feature that did (null but for domain 'all')$$;
COMMENT ON COLUMN feature_stats.verdict IS $$suppressed, amplified, this run only, as in a random change, change of norm, does not fit, steady, could not be seen; null without twins (null but for domain 'all')$$;
COMMENT ON COLUMN feature_stats.reason IS $$why that verdict, a word of store.metrics.verdicts.REASONS (null but for domain 'all')$$;

CREATE TABLE feature_segments (
    variant      VARCHAR NOT NULL,
    layer        INTEGER NOT NULL,
    segment      VARCHAR NOT NULL,
    feature      INTEGER NOT NULL,
    n11          BIGINT  NOT NULL,
    n10          BIGINT  NOT NULL,
    n01          BIGINT  NOT NULL,
    mean_base    FLOAT   NOT NULL,
    shift        FLOAT   NOT NULL,
    mean_variant DOUBLE GENERATED ALWAYS AS (greatest(mean_base::DOUBLE + shift, 0)) VIRTUAL,
    share        FLOAT
); -- key: variant, layer, segment, feature
COMMENT ON TABLE feature_segments IS $$The same counts by segment, all domains together: what of a shift sits on the chat template's own tokens.$$;
COMMENT ON COLUMN feature_segments.n11 IS 'tokens of the segment where it fires in both';
COMMENT ON COLUMN feature_segments.n10 IS 'in the base only';
COMMENT ON COLUMN feature_segments.n01 IS 'in the variant only';
COMMENT ON COLUMN feature_segments.mean_base IS 'over the counted tokens of the segment';
COMMENT ON COLUMN feature_segments.shift IS 'mean of (b - a) over the counted tokens of the segment';
COMMENT ON COLUMN feature_segments.mean_variant IS 'mean of b';
COMMENT ON COLUMN feature_segments.share IS $$the segment's part of the sum of (b - a) over all tokens; null where that sum is 0$$;

CREATE TABLE spectrum (
    variant    VARCHAR   NOT NULL,
    layer      INTEGER   NOT NULL,
    component  INTEGER   NOT NULL,
    share      DOUBLE    NOT NULL,
    direction  FLOAT[]   NOT NULL,
    features   INTEGER[] NOT NULL,
    cosines    FLOAT[]   NOT NULL,
    chance     DOUBLE    NOT NULL
); -- key: variant, layer, component
COMMENT ON TABLE spectrum IS 'The shape of the change: principal directions of delta = h_b - h_a about its mean, all domains together.';
COMMENT ON COLUMN spectrum.component IS '0: the mean of delta; from 1: eigenvectors of its covariance, largest first';
COMMENT ON COLUMN spectrum.share IS 'part of sum ||delta||^2 that lies along it';
COMMENT ON COLUMN spectrum.direction IS '[d_model], unit length';
COMMENT ON COLUMN spectrum.features IS 'features whose decoder rows have the largest |cosine| with it, largest first';
COMMENT ON COLUMN spectrum.cosines IS 'those cosines, signed';
COMMENT ON COLUMN spectrum.chance IS '95th percentile of the largest |cosine| that a random direction drawn from the covariance of h_a reaches';

CREATE TABLE replicas (
    variant         VARCHAR NOT NULL,
    layer           INTEGER NOT NULL,
    feature         INTEGER NOT NULL,
    replica_feature INTEGER NOT NULL,
    cosine          FLOAT   NOT NULL,
    freq_base       FLOAT   NOT NULL,
    freq_variant    FLOAT   NOT NULL,
    log_ratio       FLOAT   NOT NULL,
    shift           FLOAT   NOT NULL,
    std_shift       FLOAT
); -- key: variant, layer, feature
COMMENT ON TABLE replicas IS 'Would another dictionary show the same? A second dictionary of a layer over the same tokens, matched by decoder cosine.';
COMMENT ON COLUMN replicas.feature IS $$of the layer's own dictionary$$;
COMMENT ON COLUMN replicas.replica_feature IS 'of the second one: the decoder row nearest to it';
COMMENT ON COLUMN replicas.cosine IS 'of the two decoder rows';
COMMENT ON COLUMN replicas.freq_base IS 'of the replica feature, over the same counted tokens';
COMMENT ON COLUMN replicas.log_ratio IS 'of its firings, as in feature_stats';
COMMENT ON COLUMN replicas.shift IS 'of the replica feature';
COMMENT ON COLUMN replicas.std_shift IS 'shift / pooled standard deviation';

CREATE TABLE token_kl (
    variant         VARCHAR NOT NULL,
    document        INTEGER NOT NULL,
    position        INTEGER NOT NULL,
    kl              FLOAT   NOT NULL,
    base_logprob    FLOAT,
    variant_logprob FLOAT
); -- key: variant, document, position
COMMENT ON TABLE token_kl IS 'Where the prediction changed, on a sample of documents (optional pass).';
COMMENT ON COLUMN token_kl.position IS 'the token after which is predicted';
COMMENT ON COLUMN token_kl.kl IS 'KL(p_a || p_b) of the next token, nats';
COMMENT ON COLUMN token_kl.base_logprob IS 'log-probability of the token that follows, nats; null where none does in this window';
COMMENT ON COLUMN token_kl.variant_logprob IS 'the same in the variant';

CREATE TABLE feature_kl (
    variant          VARCHAR NOT NULL,
    layer            INTEGER NOT NULL,
    feature          INTEGER NOT NULL,
    n_tokens         BIGINT  NOT NULL,
    kl_where_changed FLOAT   NOT NULL,
    kl_ratio         FLOAT
); -- key: variant, layer, feature
COMMENT ON TABLE feature_kl IS $$token_kl joined to features: whether a feature's change sits where the prediction changed.$$;
COMMENT ON COLUMN feature_kl.n_tokens IS 'sampled tokens where it changed (a <> b)';
COMMENT ON COLUMN feature_kl.kl_where_changed IS 'mean kl over the sampled tokens weighted by |b - a|';
COMMENT ON COLUMN feature_kl.kl_ratio IS 'that / mean kl over all sampled tokens that count';

CREATE TABLE answers (
    task   VARCHAR NOT NULL,
    prompt INTEGER NOT NULL,
    model  VARCHAR NOT NULL,
    text   VARCHAR NOT NULL,
    answer VARCHAR NOT NULL
); -- key: task, prompt, model
COMMENT ON TABLE answers IS 'What the models say: greedy answers to fixed prompts, made beside the run and given to it.';
COMMENT ON COLUMN answers.task IS 'what the prompts ask for, e.g. a sum';
COMMENT ON COLUMN answers.prompt IS 'number within the task, from 0';
COMMENT ON COLUMN answers.model IS $$'base' or a variant$$;
COMMENT ON COLUMN answers.text IS 'the prompt as the user typed it; untrusted';
COMMENT ON COLUMN answers.answer IS 'untrusted';

CREATE TABLE contexts (
    variant             VARCHAR NOT NULL,
    layer               INTEGER NOT NULL,
    feature             INTEGER NOT NULL,
    ranking             VARCHAR NOT NULL,
    rank                INTEGER NOT NULL,
    score               FLOAT   NOT NULL,
    document            INTEGER NOT NULL,
    position            INTEGER NOT NULL,
    peak                INTEGER NOT NULL,
    n_window            INTEGER NOT NULL,
    base_at             USMALLINT[] NOT NULL,
    base_activations    FLOAT[]     NOT NULL,
    variant_at          USMALLINT[] NOT NULL,
    variant_activations FLOAT[]     NOT NULL
); -- key: variant, layer, feature, ranking, rank
COMMENT ON TABLE contexts IS $$The window's texts are tokens of the document from position - peak on; Store.contexts puts both together.$$;
COMMENT ON COLUMN contexts.ranking IS $$'base', 'variant', 'increase', 'decrease': by a, b, b - a, a - b at the peak; 'spread': by chance, of all tokens where it fires in base or variant$$;
COMMENT ON COLUMN contexts.rank IS 'from 1';
COMMENT ON COLUMN contexts.score IS 'what was ranked by: scaled activation, or the draw from (0, 1)';
COMMENT ON COLUMN contexts.position IS 'the peak token in its document';
COMMENT ON COLUMN contexts.peak IS 'tokens of the window before the peak';
COMMENT ON COLUMN contexts.n_window IS 'tokens of the window, within the context window the models saw';
COMMENT ON COLUMN contexts.base_at IS 'tokens of the window, from 0, where this feature fires in the base';
COMMENT ON COLUMN contexts.base_activations IS 'its scaled activation there';
COMMENT ON COLUMN contexts.variant_at IS 'the same in the variant';
COMMENT ON COLUMN contexts.variant_activations IS 'its scaled activation there';

CREATE TABLE histogram_bins (
    layer  INTEGER NOT NULL,
    bin    INTEGER NOT NULL,
    low    DOUBLE  NOT NULL,
    high   DOUBLE  NOT NULL
); -- key: layer, bin
COMMENT ON COLUMN histogram_bins.low IS 'scaled activation, half-octave bins shared by all models and features of the layer';
COMMENT ON COLUMN histogram_bins.high IS 'the first and last bin also hold what lies beyond';

CREATE TABLE histograms (
    layer   INTEGER NOT NULL,
    feature INTEGER NOT NULL,
    model   VARCHAR NOT NULL,
    bin     INTEGER NOT NULL,
    count   BIGINT  NOT NULL
); -- key: layer, feature, model, bin
COMMENT ON COLUMN histograms.model IS $$'base' or a variant$$;
COMMENT ON COLUMN histograms.count IS 'tokens whose activation falls in the bin; bins without tokens have no row';

CREATE TABLE token_metrics (
    variant       VARCHAR NOT NULL,
    layer         INTEGER NOT NULL,
    document      INTEGER NOT NULL,
    position      INTEGER NOT NULL,
    cosine        FLOAT NOT NULL,
    overlap       FLOAT NOT NULL,
    l1_divergence FLOAT NOT NULL,
    l0_base       INTEGER NOT NULL,
    l0_variant    INTEGER NOT NULL
); -- key: variant, layer, document, position
COMMENT ON COLUMN token_metrics.cosine IS 'cos(h_a, h_b)';
COMMENT ON COLUMN token_metrics.overlap IS 'Jaccard of the active sets';
COMMENT ON COLUMN token_metrics.l1_divergence IS '||b - a||_1';

CREATE TABLE document_sums (
    variant                VARCHAR NOT NULL,
    layer                  INTEGER NOT NULL,
    document               INTEGER NOT NULL,
    segment                VARCHAR NOT NULL,
    n_tokens               BIGINT NOT NULL,
    cosine                 FLOAT  NOT NULL,
    centred_cosine         FLOAT  NOT NULL,
    base_norm2             FLOAT  NOT NULL,
    variant_norm2          FLOAT  NOT NULL,
    base_centred2          FLOAT  NOT NULL,
    variant_centred2       FLOAT  NOT NULL,
    delta_norm2            FLOAT  NOT NULL,
    base_error2            FLOAT  NOT NULL,
    variant_error2         FLOAT  NOT NULL,
    delta_error2           FLOAT  NOT NULL,
    overlap                FLOAT  NOT NULL,
    minimum                FLOAT  NOT NULL,
    maximum                FLOAT  NOT NULL,
    latent_cosine          FLOAT  NOT NULL,
    n_latent_cosine        BIGINT NOT NULL,
    l1_divergence          FLOAT  NOT NULL,
    l0_base                BIGINT NOT NULL,
    l0_variant             BIGINT NOT NULL
); -- key: variant, layer, document, segment
COMMENT ON TABLE document_sums IS 'The additive sums per document that layer_metrics is made from: for intervals, and for other groupings in a notebook.';
COMMENT ON COLUMN document_sums.n_tokens IS 'tokens that count';
COMMENT ON COLUMN document_sums.cosine IS 'sum of cos(h_a, h_b)';
COMMENT ON COLUMN document_sums.centred_cosine IS 'sum of cos(h_a - mu, h_b - mu)';
COMMENT ON COLUMN document_sums.base_norm2 IS 'sum ||h_a||^2';
COMMENT ON COLUMN document_sums.variant_norm2 IS 'sum ||h_b||^2';
COMMENT ON COLUMN document_sums.base_centred2 IS 'sum ||h_a - mu||^2';
COMMENT ON COLUMN document_sums.variant_centred2 IS 'sum ||h_b - mu||^2';
COMMENT ON COLUMN document_sums.delta_norm2 IS 'sum ||h_b - h_a||^2';
COMMENT ON COLUMN document_sums.base_error2 IS 'sum ||h_a - dec(a)||^2';
COMMENT ON COLUMN document_sums.variant_error2 IS 'sum ||h_b - dec(b)||^2';
COMMENT ON COLUMN document_sums.delta_error2 IS 'sum ||delta - (dec(b) - dec(a))||^2';
COMMENT ON COLUMN document_sums.overlap IS $$sum of the tokens' Jaccard$$;
COMMENT ON COLUMN document_sums.minimum IS 'sum min(a, b)';
COMMENT ON COLUMN document_sums.maximum IS 'sum max(a, b)';
COMMENT ON COLUMN document_sums.latent_cosine IS 'sum of cos(a, b)';
COMMENT ON COLUMN document_sums.n_latent_cosine IS 'tokens it is defined on: a code in base or variant';
COMMENT ON COLUMN document_sums.l1_divergence IS 'sum ||b - a||_1';
COMMENT ON COLUMN document_sums.l0_base IS 'sum of active features';
