"""The dashboards, as Grafana imports them."""

SELECTOR = 'cluster=~"$cluster",environment=~"$environment",namespace=~"$namespace",job=~"$job"'
WITH_PROFILE = SELECTOR + ',profile=~"$profile"'
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH, HEIGHT, SMALL = 12, 8, 4

# Names a series by all that distinguishes it; Grafana leaves out labels that are the same or absent.
LEGEND = "{{profile}} {{environment}} {{namespace}} {{instance}}"
GREEN, ORANGE, RED = "green", "orange", "red"

CIRCUIT = [{"type": "value", "options": {
    "0": {"text": "closed", "color": GREEN}, "1": {"text": "half-open", "color": ORANGE}, "2": {"text": "open", "color": RED}}}]
UP = [{"type": "value", "options": {"0": {"text": "down", "color": RED}, "1": {"text": "up", "color": GREEN}}}]


def query(expression, legend=LEGEND):
    return expression, legend


def panel(title, description, *queries, kind="timeseries", unit="short", steps=(), mappings=(), empty="no data"):
    """A panel without its place; the queries' selectors are filled in."""
    defaults = {"unit": unit, "noValue": empty}
    if mappings:
        defaults["mappings"] = list(mappings)
    if steps:
        colours = [{"color": colour, "value": value} for value, colour in steps]
        defaults["thresholds"] = {"mode": "absolute", "steps": colours}
    targets = [
        {"refId": chr(ord("A") + number), "datasource": SOURCE, "legendFormat": legend,
         "expr": expression.replace("<all>", WITH_PROFILE).replace("<job>", SELECTOR)}
        for number, (expression, legend) in enumerate(queries)
    ]
    made = {"type": kind, "title": title, "description": description, "datasource": SOURCE, "targets": targets,
            "fieldConfig": {"defaults": defaults, "overrides": []}}
    if kind == "stat":
        made["options"] = {"colorMode": "background", "graphMode": "none", "textMode": "value_and_name",
                           "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}}
    else:
        made["options"] = {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
                           "tooltip": {"mode": "multi", "sort": "desc"}}
    return made


def placed(panels):
    """Two panels in a row; those of a single value are half as high."""
    across, down = 0, 0
    for number, one in enumerate(panels):
        height = SMALL if one["type"] == "stat" else HEIGHT
        one["id"] = number + 1
        one["gridPos"] = {"h": height, "w": WIDTH, "x": across, "y": down}
        across, down = (WIDTH, down) if across == 0 else (0, down + height)
    return panels


def variable(name, label, metric):
    values = f"label_values({metric}, {name})"
    return {"name": name, "label": label, "type": "query", "datasource": SOURCE, "query": {"query": values, "refId": name},
            "definition": values, "refresh": 2, "includeAll": True, "multi": True, "allValue": ".*",
            "current": {"text": "All", "value": "$__all"}, "hide": 0}


def dashboard(uid, title, description, metric, names, panels):
    data_source = {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "current": {}, "hide": 0}
    variables = [variable(name, name.capitalize(), metric) for name in names]
    links = [{"title": "Tokenseal", "type": "dashboards", "tags": ["tokenseal"], "asDropdown": True, "keepTime": True, "includeVars": True}]
    return {"title": title, "uid": uid, "description": description, "tags": ["tokenseal"], "schemaVersion": 39, "version": 1,
            "editable": True, "graphTooltip": 1, "refresh": "30s", "time": {"from": "now-6h", "to": "now"}, "timezone": "utc",
            "templating": {"list": [data_source, *variables]}, "annotations": {"list": []}, "links": links, "panels": placed(panels)}


def tokens():
    recorded = "instance_profile:tokenseal_"
    panels = [
        panel("Replicas", "Whether Prometheus reaches each replica.",
              query("up{<job>} and on (cluster, environment, namespace, job) job:tokenseal_targets:count", "{{environment}} {{namespace}} {{instance}}"),
              kind="stat", mappings=UP, steps=((None, RED), (1, GREEN)), empty="no replica"),
        panel("Circuit", "State of the circuit to the key service.", query(recorded + "circuit_state:value{<all>}"),
              kind="stat", mappings=CIRCUIT, steps=((None, GREEN), (1, ORANGE), (2, RED))),
        panel("Decrypt p99", "Time of the slowest hundredth of the calls to open a value. Cache hits are not counted.",
              query(recorded + 'kms_duration_seconds:p99_rate5m{operation="decrypt",<all>}'),
              kind="stat", unit="s", steps=((None, GREEN), (0.5, RED)), empty="no calls"),
        panel("Cache hit rate", "Share of the reads within 15 minutes that the cache of data keys answered.",
              query(recorded + "cache_hits:ratio15m{<all>}"), kind="stat", unit="percentunit", steps=((None, RED), (0.9, GREEN)), empty="no reads"),
        panel("Read objective", "Share of failed reads by window. The objective is 0.1 %; lines above it use up the error budget.",
              query("job_profile:tokenseal_read_errors:ratio_rate1h{<all>}", "1 h {{profile}} {{environment}} {{namespace}}"),
              query("job_profile:tokenseal_read_errors:ratio_rate1d{<all>}", "1 d {{profile}} {{environment}} {{namespace}}"),
              unit="percentunit", steps=((None, GREEN), (0.001, RED)), empty="no reads"),
        panel("Decrypt error rate", "Share of the calls to open a value that failed within 5 minutes. From 5 % on it is a reason to roll back.",
              query("job_profile:tokenseal_kms_decrypt_errors:ratio5m{<all>}", "{{profile}} {{environment}} {{namespace}}"),
              unit="percentunit", steps=((None, GREEN), (0.05, RED)), empty="no calls"),
        panel("Decrypt latency", "Calls to open a value, by replica.",
              query(recorded + 'kms_duration_seconds:p50_rate5m{operation="decrypt",<all>}', "p50 " + LEGEND),
              query(recorded + 'kms_duration_seconds:p99_rate5m{operation="decrypt",<all>}', "p99 " + LEGEND), unit="s", empty="no calls"),
        panel("Encrypt latency", "Requests for new data keys, by replica.",
              query(recorded + 'kms_duration_seconds:p50_rate5m{operation="encrypt",<all>}', "p50 " + LEGEND),
              query(recorded + 'kms_duration_seconds:p99_rate5m{operation="encrypt",<all>}', "p99 " + LEGEND), unit="s", empty="no calls"),
        panel("Mean latency and its baseline", "A mean more than 20 % above that of the day before is a reason to roll back.",
              query("job_profile:tokenseal_kms_duration_seconds:mean15m{<all>}", "now {{profile}} {{environment}} {{namespace}}"),
              query("avg_over_time(job_profile:tokenseal_kms_duration_seconds:mean15m{<all>}[1d])", "day {{profile}} {{environment}} {{namespace}}"),
              unit="s", empty="no calls"),
        panel("Errors by operation and class", "Failed calls within 5 minutes: decrypt, encrypt, rewrap, describe.",
              query(recorded + "kms_errors:increase5m{<all>}", "{{operation}} {{class}} " + LEGEND), empty="none"),
        panel("Calls per hour", "Calls to the key service, by operation. Cache hits are not counted.",
              query(recorded + "kms_requests:increase1h{<all>}", "{{operation}} " + LEGEND)),
        panel("Cache hit rate over time", "Share of the reads within 15 minutes that the cache of data keys answered.",
              query(recorded + "cache_hits:ratio15m{<all>}"), unit="percentunit", empty="no reads"),
        panel("Cache", "Data keys in the cache, and those dropped within 5 minutes.",
              query(recorded + "cache_size:value{<all>}", "size " + LEGEND),
              query(recorded + "cache_evictions:increase5m{<all>}", "dropped " + LEGEND)),
        panel("Served in an outage", "Expired data keys served, and rows written in direct AES, within 5 minutes.",
              query(recorded + "cache_stale_served:increase5m{<all>}", "expired keys " + LEGEND),
              query(recorded + "fallback_writes:increase5m{<all>}", "fallback writes " + LEGEND), empty="none"),
        panel("Refused calls", "Calls that failed at once within 5 minutes: the circuit was open, or too many were in progress.",
              query(recorded + "circuit_rejections:increase5m{<all>}", "circuit " + LEGEND),
              query(recorded + "load_rejections:increase5m{<all>}", "load " + LEGEND), empty="none"),
        panel("Retries and waiting", "Retries of calls, and calls that waited because the key service throttled, within 5 minutes.",
              query(recorded + "retries:increase5m{<all>}", "retries " + LEGEND),
              query(recorded + "rate_limit_waits:increase5m{<all>}", "waits " + LEGEND), empty="none"),
        panel("Rows by version", "Rows as the last count found them: 0 plaintext, 1 legacy, 2 under the key service.",
              query(recorded + "token_rows:value{<all>}", "version {{version}} " + LEGEND), empty="not counted yet"),
        panel("Re-sealed rows", "Rows re-encrypted within 5 minutes because they were read in an older form.",
              query(recorded + "resealed:increase5m{<all>}"), empty="none"),
        panel("Token refreshes", "Refreshes within 15 minutes, by outcome.",
              query(recorded + "refreshes:increase15m{<all>}", "{{outcome}} " + LEGEND), empty="no refreshes"),
        panel("Refresh success", "Share of the refreshes within 15 minutes that succeeded. Below 95 % is a reason to roll back.",
              query("job_profile:tokenseal_refreshes:success_ratio15m{<all>}", "{{profile}} {{environment}} {{namespace}}"),
              unit="percentunit", steps=((None, RED), (0.95, GREEN)), empty="no refreshes"),
        panel("Refresh latency", "Time of the slowest hundredth of the refreshes, by replica.",
              query(recorded + "refresh_duration_seconds:p99_rate5m{<all>}"), unit="s", empty="no refreshes"),
    ]
    return dashboard("tokenseal", "Tokenseal: tokens", "Tokens under envelope encryption: the key service, its cache, the rows.",
                     "instance_profile:tokenseal_target:info", ("cluster", "environment", "namespace", "job", "profile"), panels)


def secrets():
    where = "{{environment}} {{namespace}} {{instance}}"
    panels = [
        panel("Secrets due for rotation", "By the last inventory.", query("secrets_due_for_rotation{<job>}", where),
              kind="stat", steps=((None, GREEN), (1, ORANGE)), empty="no inventory"),
        panel("Expired secrets", "By the last inventory. They are not served.", query("secrets_expired{<job>}", where),
              kind="stat", steps=((None, GREEN), (1, RED)), empty="no inventory"),
        panel("Requests to the source", "Requests within 15 minutes, by source and outcome.",
              query("instance:secrets_accesses:increase15m{<job>}", "{{source}} {{operation}} {{outcome}} " + where)),
        panel("Failed requests", "Share of the requests within 15 minutes that failed; a name that does not exist is not counted.",
              query("job:secrets_accesses:failure_ratio15m{<job>}", "{{environment}} {{namespace}}"),
              unit="percentunit", steps=((None, GREEN), (0.05, RED)), empty="no requests"),
        panel("Reads through the cache", "Reads within 5 minutes: hit, miss, stale, negative.",
              query("instance:secrets_cache_reads:increase5m{<job>}", "{{result}} " + where)),
        panel("Secrets stored", "By the last inventory.", query("secrets_stored{<job>}", where), empty="no inventory"),
    ]
    return dashboard("tokenseal-secrets", "Tokenseal: secrets", "Requests to secret sources, their cache, rotation.",
                     "secrets_stored", ("cluster", "environment", "namespace", "job"), panels)


def all_of_them():
    """File names and dashboards."""
    return {"dashboard.json": tokens(), "dashboard-secrets.json": secrets()}
