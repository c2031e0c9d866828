"""Failures of one replica of one profile in one environment, and the alerts that must name exactly that one.

Used twice: in virtual time by promtool, and on a real Prometheus. Every scenario has two profiles in two environments with two
replicas each, all of the same job name. Seven of the eight stay healthy.
"""

from dataclasses import dataclass, field

import common

ERROR_CLASSES = common.load(common.CHECKS / "metrics.json")["error_classes"]
# Of which each healthy replica has a counter at 0; of the others only where a scenario is about them, to keep it fast.
COMMON_CLASSES = ("denied", "unavailable")
PREFIXES = {"vod-tender": "vod", "pulseplan": "pulseplan"}
HISTORY = 15

# Upper bounds of buckets in seconds, and the share of healthy calls up to each. The mean of a call is 10 ms.
HEALTHY_BUCKETS = {"0.005": 0.3, "0.01": 0.7, "0.1": 0.995, "0.2": 1.0, "0.5": 1.0, "10.0": 1.0, "+Inf": 1.0}


@dataclass(frozen=True)
class Counter:
    """Counts per minute before and after the onset."""
    before: float = 0
    after: float = 0

    def at(self, minute, onset):
        return self.before * min(minute, onset) + self.after * max(0, minute - onset)


@dataclass(frozen=True)
class Gauge:
    before: float | None = 0
    after: float | None = 0

    def at(self, minute, onset):
        return self.before if minute <= onset else self.after


@dataclass(frozen=True)
class FirstSeen:
    """A counter of a process that had counted already when it was scraped for the first time."""
    value: float

    def at(self, minute, onset):
        return None if minute <= onset else self.value


@dataclass(frozen=True)
class Vanishing:
    """A series that ends at the onset."""
    inner: object

    def at(self, minute, onset):
        return self.inner.at(minute, onset) if minute <= onset else None


def steady(rate):
    return Counter(rate, rate)


def constant(value):
    return Gauge(value, value)


def duration(name, calls, mean=0.01, after=None, mean_after=None, buckets_after=None):
    """A histogram's series; afterwards calls may take longer."""
    after, mean_after = calls if after is None else after, mean_after or mean
    series = {}
    for bound, share in HEALTHY_BUCKETS.items():
        later = (buckets_after or HEALTHY_BUCKETS).get(bound, 0)
        series[f'{name}_bucket{{le="{bound}"}}'] = Counter(calls * share, after * later)
    series[f"{name}_sum"] = Counter(calls * mean, after * mean_after)
    series[f"{name}_count"] = Counter(calls, after)
    return series


def healthy(prefix):
    """The series of a healthy replica, by name and own labels."""
    kms = f"{prefix}_kms"
    series = {f'{kms}_{operation}_errors_total{{class="{label}"}}': steady(0)
              for operation in ("decrypt", "encrypt", "rewrap", "describe") for label in ERROR_CLASSES}
    series |= {f'{kms}_requests_total{{operation="{operation}"}}': steady(rate)
               for operation, rate in {"unwrap": 60, "generate": 6, "describe": 6, "decrypt": 0, "rewrap": 0}.items()}
    series |= duration(f"{kms}_decrypt_duration_seconds", 60) | duration(f"{kms}_encrypt_duration_seconds", 6)
    series |= duration(f"{prefix}_token_refresh_duration_seconds", 6)
    series |= {f"{kms}_{name}_total": steady(rate) for name, rate in {
        "cache_hits": 1900, "cache_misses": 60, "cache_evictions": 1, "cache_stale_served": 0, "circuit_rejections": 0,
        "load_rejections": 0, "retries": 0, "rate_limit_waits": 0, "fallback_writes": 0}.items()}
    series |= {f'{prefix}_token_refreshes_total{{outcome="ok"}}': steady(6), f'{prefix}_token_refreshes_total{{outcome="failed"}}': steady(0)}
    series |= {f"{prefix}_tokens_resealed_total": steady(0), f"{kms}_cache_size": constant(500), f"{kms}_circuit_state": constant(0)}
    series |= {f'{prefix}_token_rows{{version="{version}"}}': constant(rows) for version, rows in {"0": 0, "1": 0, "2": 1000}.items()}
    series |= {f'secrets_accesses_total{{source="local",operation="get",outcome="{outcome}"}}': steady(rate)
               for outcome, rate in {"ok": 4, "not_found": 0, "denied": 0, "unavailable": 0}.items()}
    series |= {f'secrets_cache_reads_total{{result="{result}"}}': steady(rate) for result, rate in {"hit": 60, "miss": 4}.items()}
    series |= {"secrets_due_for_rotation": constant(0), "secrets_expired": constant(0), "secrets_stored": constant(5), "up": constant(1)}
    return series


@dataclass(frozen=True)
class Target:
    """One replica of one profile in one environment."""
    environment: str
    profile: str
    replica: int

    def labels(self, suffix=""):
        place = {"production": "eu-1", "staging": "eu-2"}[self.environment]
        host = {"vod-tender": 0, "pulseplan": 10}[self.profile] + self.replica
        return {"cluster": place + suffix, "environment": self.environment, "namespace": "tokens", "job": "tokenseal",
                "instance": f"10.0.{place[-1]}.{host}:9464"}


TARGETS = [Target(environment, profile, replica) for environment in ("production", "staging")
           for profile in PREFIXES for replica in (1, 2)]


@dataclass
class Scenario:
    """The change at the onset, its target, and the only alerts that must fire for it."""
    name: str
    change: dict
    fires: list
    at: Target = TARGETS[2]
    # Changes of every replica of the ill deployment.
    everywhere: bool = False
    # Every target of the ill environment goes away, with all its series.
    vanishes: bool = False
    lasts: int = 25
    history: int = HISTORY
    # Changes to all eight, which must not fire by themselves.
    common: dict = field(default_factory=dict)

    def series(self, target):
        """The series of a target, by name and own labels."""
        prefix = PREFIXES[target.profile]
        named = lambda changes: {name.replace("PREFIX", prefix): series for name, series in changes.items()}
        series = healthy(prefix) | named(self.common)
        if self.vanishes and self.ill(target):
            return {name: Vanishing(kept) for name, kept in series.items()}
        return series | (named(self.change) if self.ill(target) else {})

    def ill(self, target):
        if self.vanishes:
            return target.environment == self.at.environment
        if self.everywhere:
            return (target.environment, target.profile) == (self.at.environment, self.at.profile)
        return target == self.at

    def expected(self, alert, severity, suffix=""):
        """The labels of the alerts of a name, one for each replica that is ill or one for all."""
        if alert not in self.fires:
            return []
        kept = KEPT.get(alert, ("profile", "instance"))
        wanted = []
        for target in filter(self.ill, TARGETS):
            labels = target.labels(suffix)
            labels |= {"profile": target.profile, "severity": severity, "alertname": alert} | MORE.get(alert, {})
            if "profile" not in kept:
                del labels["profile"]
            if "instance" not in kept:
                del labels["instance"]
            if labels not in wanted:
                wanted.append(labels)
        return wanted


# The labels that alerts keep, where not both: those on all replicas together, and those on secrets, which have no profile.
KEPT = {name: ("profile",) for name in (
    "TokensealDecryptErrorRate", "TokensealRefreshSuccessLow", "TokensealKmsLatencyAboveBaseline", "TokensealReadSloFastBurn",
    "TokensealReadSloSlowBurn", "TokensealUnsealedRows", "TokensealRowsNotCounted")}
KEPT |= {name: () for name in ("TokensealSecretFailureRate", "TokensealSecretReadsAnomalous", "TokensealSecretsDueForRotation",
                               "TokensealSecretsExpired", "TokensealTargetAbsent")}
KEPT |= {name: ("instance",) for name in ("TokensealSecretReadsFailing", "TokensealTargetDown", "TokensealScheduledJobFailed")}
FAILED_JOB = {"job_name": "token-status-29384760"}
# Labels that an alert has besides.
DECRYPT = {"operation": "decrypt"}
MORE = {"TokensealValueRefused": {"class": "malformed"}, "TokensealScheduledJobFailed": FAILED_JOB, "TokensealKmsHighLatency": DECRYPT, "TokensealKmsLatencyAboveBaseline": DECRYPT}


def errors(operation, label, series):
    return {f'PREFIX_kms_{operation}_errors_total{{class="{label}"}}': series}


# An error a minute in 60 calls is no burn that pages for a job of two replicas with 3,920 reads a minute, but 60 are.
BURNS = ["TokensealDecryptErrorRate", "TokensealReadSloFastBurn", "TokensealReadSloSlowBurn"]
CLASS_ALERTS = {
    "denied": "TokensealKmsDenied", "not_found": "TokensealKmsKeyNotFound", "disabled": "TokensealKmsKeyDisabled",
    "pending_deletion": "TokensealKmsKeyPendingDeletion", "version_retired": "TokensealKeyVersionRetired", "throttled": "TokensealKmsThrottled",
    "unavailable": "TokensealKmsUnavailable", "timeout": "TokensealKmsTimeout",
    "context_mismatch_or_corrupt": "TokensealContextMismatchOrCorrupt", "wrong_key": "TokensealWrongKey",
    "invalid_request": "TokensealInvalidRequest", "misconfigured": "TokensealMisconfigured",
}
FIRST_COUNTS = [label for label in ERROR_CLASSES if label not in ("throttled", "unavailable", "timeout")]


def class_scenarios():
    """Each error class, for decrypts at one replica and encrypts at another."""
    for number, label in enumerate(ERROR_CLASSES):
        at = TARGETS[number % len(TARGETS)]
        alert = CLASS_ALERTS[label]
        more = [] if label == "context_mismatch_or_corrupt" else ["TokensealKmsDecryptErrors", *BURNS]
        yield Scenario(f"every decrypt fails with {label}", errors("decrypt", label, Counter(0, 60)), [alert, *more], at)
        if label != "context_mismatch_or_corrupt":
            yield Scenario(f"encrypts fail with {label}", errors("encrypt", label, Counter(0, 3)), [alert, "TokensealKmsEncryptErrors"],
                           TARGETS[(number + 3) % len(TARGETS)])
        if label in FIRST_COUNTS:
            yield Scenario(f"the first scrape of a process finds 2 errors of {label}", errors("decrypt", label, FirstSeen(2)), [alert],
                           at, lasts=3)
        else:
            yield Scenario(f"a single error of {label}", errors("decrypt", label, Gauge(0, 1)), [], at, lasts=3)


SLOW_BUCKETS = {"10.0": 1.0, "+Inf": 1.0}

SCENARIOS = [
    *class_scenarios(),
    Scenario("a row's text is not what its version says", {'PREFIX_kms_decrypt_errors_total{class="malformed"}': Counter(0, 0.3)},
             ["TokensealValueRefused"], TARGETS[6]),
    Scenario("re-wrapping fails", errors("rewrap", "denied", Counter(0, 1)), ["TokensealKmsDenied", "TokensealKmsRewrapErrors"]),
    Scenario("DescribeKey is denied", errors("describe", "denied", Counter(0, 6)), ["TokensealKmsDescribeErrors"]),
    Scenario("every tenth refresh fails", {'PREFIX_token_refreshes_total{outcome="failed"}': Counter(0, 0.7)},
             ["TokensealRefreshSuccessLow"], everywhere=True),
    Scenario("every refresh fails", {'PREFIX_token_refreshes_total{outcome="failed"}': Counter(0, 6),
                                     'PREFIX_token_refreshes_total{outcome="ok"}': Counter(6, 0)},
             ["TokensealRefreshSuccessLow"], everywhere=True),
    Scenario("a hundredth of the refreshes fails", {'PREFIX_token_refreshes_total{outcome="failed"}': Counter(0, 0.06)}, [], everywhere=True),
    Scenario("a tenth of the secret reads fails",
             {'secrets_accesses_total{source="local",operation="get",outcome="unavailable"}': Counter(0, 2)},
             ["TokensealSecretFailureRate", "TokensealSecretReadsFailing"]),
    Scenario("a service asks for secrets that do not exist",
             {'secrets_accesses_total{source="local",operation="get",outcome="not_found"}': Counter(0, 20)}, []),
    Scenario("a replica decrypts in 10 s", duration("PREFIX_kms_decrypt_duration_seconds", 60, mean_after=9.0, buckets_after=SLOW_BUCKETS),
             ["TokensealKmsHighLatency"], TARGETS[1]),
    Scenario("decrypts take half as long again as on the day before",
             duration("PREFIX_kms_decrypt_duration_seconds", 60, mean_after=0.015), ["TokensealKmsLatencyAboveBaseline"],
             everywhere=True, history=13 * 60, lasts=45),
    Scenario("decrypts take a tenth longer than on the day before", duration("PREFIX_kms_decrypt_duration_seconds", 60, mean_after=0.011),
             [], everywhere=True, history=13 * 60, lasts=45),
    Scenario("a fiftieth of the reads fails for an hour", errors("decrypt", "unavailable", Counter(0, 120)),
             ["TokensealKmsUnavailable", "TokensealKmsDecryptErrors", *BURNS], everywhere=True, history=7 * 60, lasts=90),
    Scenario("five reads of a thousand fail for hours", errors("decrypt", "invalid_request", Counter(0, 10)),
             ["TokensealInvalidRequest", "TokensealKmsDecryptErrors", "TokensealDecryptErrorRate", "TokensealReadSloSlowBurn"],
             everywhere=True, history=6 * 60, lasts=18 * 60),
    Scenario("production answers half of its reads from the cache next to a warm staging",
             {"PREFIX_kms_cache_hits_total": Counter(1900, 60)}, ["TokensealCacheHitRateLow"], TARGETS[0]),
    Scenario("a cache that was warm answers nothing", {"PREFIX_kms_cache_hits_total": Counter(1900, 0)}, ["TokensealCacheHitRateLow"]),
    Scenario("tokens that are used hourly are never in the cache", {}, [],
             common={"PREFIX_kms_cache_hits_total": steady(0), "PREFIX_kms_cache_misses_total": steady(66)}),
    Scenario("a migration opens each value once", {"PREFIX_kms_cache_hits_total": steady(0), "PREFIX_kms_cache_misses_total": Counter(0, 9000),
                                                   'PREFIX_kms_requests_total{operation="unwrap"}': Counter(0, 9000)}, []),
    Scenario("a replica cannot be scraped", {"up": Gauge(1, 0)}, ["TokensealTargetDown"], TARGETS[5]),
    Scenario("an environment has no targets any more", {}, ["TokensealTargetAbsent"], TARGETS[4], vanishes=True),
    Scenario("the Job that counts rows fails", {'kube_job_status_failed{job_name="token-status-29384760"}': Gauge(None, 1)},
             ["TokensealScheduledJobFailed"]),
    Scenario("the circuit is open", {"PREFIX_kms_circuit_state": Gauge(0, 2), "PREFIX_kms_circuit_rejections_total": Counter(0, 30)},
             ["TokensealCircuitOpen", "TokensealCircuitRejections"], TARGETS[6]),
    Scenario("our own limits refuse calls", {"PREFIX_kms_load_rejections_total": Counter(0, 2)}, ["TokensealLoadRejections"], TARGETS[7]),
    Scenario("expired data keys are served", {"PREFIX_kms_cache_stale_served_total": Counter(0, 4)}, ["TokensealStaleServed"], TARGETS[3]),
    Scenario("tokens are written in direct AES", {"PREFIX_kms_fallback_writes_total": FirstSeen(1)}, ["TokensealFallbackWrites"], TARGETS[4], lasts=3),
    Scenario("plaintext rows are counted", {'PREFIX_token_rows{version="0"}': Gauge(0, 7)}, ["TokensealUnsealedRows"], TARGETS[0], lasts=75),
    Scenario("nothing counts the rows", {f'PREFIX_token_rows{{version="{version}"}}': Gauge(rows, None)
                                         for version, rows in {"0": 0, "1": 0, "2": 1000}.items()},
             ["TokensealRowsNotCounted"], everywhere=True, lasts=150),
    Scenario("secrets are read a hundred times as often",
             {'secrets_accesses_total{source="local",operation="get",outcome="ok"}': Counter(4, 400)}, ["TokensealSecretReadsAnomalous"],
             everywhere=True, history=3 * 60, lasts=12),
    Scenario("secrets are due for rotation", {"secrets_due_for_rotation": Gauge(0, 2)}, ["TokensealSecretsDueForRotation"], lasts=25 * 60),
    Scenario("a secret has expired", {"secrets_expired": Gauge(0, 1)}, ["TokensealSecretsExpired"], TARGETS[1]),
]
