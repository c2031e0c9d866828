//! Generated tokens of many kinds are all found, and none of many harmless settings is.

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use secrets_cache::scan::Scanner;

/// The forms of tokens as their issuers describe them. The parts are joined here, so that no scanner takes this file for a leak.
const KINDS: &[(&str, &[&str])] = &[
    ("AWS access key", &["AKIA", "[A-Z2-7]{16}"]),
    ("AWS temporary access key", &["ASIA", "[A-Z2-7]{16}"]),
    ("GitHub personal token", &["ghp_", "[A-Za-z0-9]{36}"]),
    ("GitHub OAuth token", &["gho_", "[A-Za-z0-9]{36}"]),
    ("GitHub user token", &["ghu_", "[A-Za-z0-9]{36}"]),
    ("GitHub server token", &["ghs_", "[A-Za-z0-9]{36}"]),
    (
        "GitHub server token of the new form",
        &["ghs_", "[0-9]{6}_", "eyJ[A-Za-z0-9_-]{40}\\.eyJ[A-Za-z0-9_-]{60}\\.[A-Za-z0-9_-]{80}"],
    ),
    ("GitHub refresh token", &["ghr_", "[A-Za-z0-9]{76}"]),
    ("GitHub fine-grained token", &["github_pat_", "[A-Za-z0-9]{22}_[A-Za-z0-9]{59}"]),
    ("GitLab personal token", &["glpat-", "[A-Za-z0-9_-]{20}"]),
    ("GitLab routable token", &["glpat-", "[A-Za-z0-9_-]{27}\\.[0-9a-z]{2}[0-9a-z]{7}"]),
    ("GitLab deploy token", &["gldt-", "[A-Za-z0-9_-]{20}"]),
    ("GitLab runner token", &["glrt-", "[A-Za-z0-9_-]{20}"]),
    ("Bitbucket app password", &["ATBB", "[A-Za-z0-9]{32}"]),
    ("Atlassian token", &["ATATT3", "[A-Za-z0-9_=-]{180}"]),
    ("Slack bot token", &["xoxb-", "[0-9]{12}-[0-9]{12}-[A-Za-z0-9]{24}"]),
    ("Slack user token", &["xoxp-", "[0-9]{12}-[0-9]{12}-[0-9]{12}-[a-f0-9]{32}"]),
    ("Slack app token", &["xapp-", "1-A[A-Z0-9]{10}-[0-9]{13}-[a-f0-9]{64}"]),
    (
        "Slack webhook",
        &["https://hooks", "\\.slack\\.com/services/T[A-Z0-9]{8}/B[A-Z0-9]{10}/[A-Za-z0-9]{24}"],
    ),
    ("Google API key", &["AIza", "[A-Za-z0-9_-]{35}"]),
    ("Google OAuth token", &["ya29", "\\.[A-Za-z0-9_-]{60}"]),
    ("Google OAuth secret", &["GOCSPX-", "[A-Za-z0-9_-]{28}"]),
    ("Stripe live key", &["sk_live_", "[A-Za-z0-9]{24}"]),
    ("Stripe restricted key", &["rk_live_", "[A-Za-z0-9]{24}"]),
    ("Stripe webhook secret", &["whsec_", "[A-Za-z0-9]{32}"]),
    ("OpenAI project key", &["sk-proj-", "[A-Za-z0-9_-]{74}T3BlbkFJ[A-Za-z0-9_-]{74}"]),
    ("OpenAI service account key", &["sk-svcacct-", "[A-Za-z0-9_-]{74}T3BlbkFJ[A-Za-z0-9_-]{74}"]),
    ("OpenAI key of the old form", &["sk-", "[A-Za-z0-9]{20}T3BlbkFJ[A-Za-z0-9]{20}"]),
    ("Anthropic key", &["sk-ant-", "api03-[A-Za-z0-9_-]{93}AA"]),
    ("OpenRouter key", &["sk-or-v1-", "[a-f0-9]{64}"]),
    ("Hugging Face token", &["hf_", "[A-Za-z]{34}"]),
    ("Groq key", &["gsk_", "[A-Za-z0-9]{52}"]),
    ("xAI key", &["xai-", "[A-Za-z0-9]{80}"]),
    ("Perplexity key", &["pplx-", "[A-Za-z0-9]{48}"]),
    ("Replicate token", &["r8_", "[A-Za-z0-9]{37}"]),
    ("PyPI token", &["pypi-AgEIcHlwaS5vcmc", "[A-Za-z0-9_-]{150}"]),
    ("npm token", &["npm_", "[A-Za-z0-9]{36}"]),
    ("RubyGems token", &["rubygems_", "[a-f0-9]{48}"]),
    ("crates token", &["cio", "[A-Za-z0-9]{32}"]),
    ("NuGet key", &["oy2", "[a-z0-9]{43}"]),
    ("Docker personal token", &["dckr_pat_", "[A-Za-z0-9_-]{27}"]),
    ("SendGrid key", &["SG", "\\.[A-Za-z0-9_-]{22}\\.[A-Za-z0-9_-]{43}"]),
    ("Twilio key", &["SK", "[a-f0-9]{32}"]),
    ("Mailgun key", &["key-", "[a-f0-9]{32}"]),
    ("Mailchimp key", &["[a-f0-9]{32}", "-us[0-9]{2}"]),
    ("Brevo key", &["xkeysib-", "[a-f0-9]{64}-[A-Za-z0-9]{16}"]),
    ("Vault service token", &["hvs", "\\.[A-Za-z0-9_-]{90}"]),
    ("Vault batch token", &["hvb", "\\.[A-Za-z0-9_-]{130}"]),
    ("Terraform Cloud token", &["[A-Za-z0-9]{14}", "\\.atlasv1\\.[A-Za-z0-9]{67}"]),
    ("Pulumi token", &["pul-", "[a-f0-9]{40}"]),
    ("DigitalOcean token", &["dop_v1_", "[a-f0-9]{64}"]),
    ("Databricks token", &["dapi", "[a-f0-9]{32}"]),
    ("Shopify token", &["shpat_", "[a-f0-9]{32}"]),
    ("Square token", &["sq0atp-", "[A-Za-z0-9_-]{22}"]),
    ("Telegram bot token", &["[0-9]{10}:", "AA[A-Za-z0-9_-]{33}"]),
    ("Discord bot token", &["M[A-Za-z0-9_-]{25}", "\\.[A-Za-z0-9_-]{6}\\.[A-Za-z0-9_-]{38}"]),
    ("Grafana service token", &["glsa_", "[A-Za-z0-9]{32}_[a-f0-9]{8}"]),
    ("New Relic user key", &["NRAK-", "[A-Z0-9]{27}"]),
    ("Sentry user token", &["sntryu_", "[a-f0-9]{64}"]),
    ("Dynatrace token", &["dt0c01", "\\.[A-Z0-9]{24}\\.[A-Z0-9]{64}"]),
    ("Linear key", &["lin_api_", "[A-Za-z0-9]{40}"]),
    ("Notion token", &["ntn_", "[0-9]{11}[A-Za-z0-9]{35}"]),
    ("Figma token", &["figd_", "[A-Za-z0-9_-]{40}"]),
    ("Airtable token", &["pat[A-Za-z0-9]{14}", "\\.[a-f0-9]{64}"]),
    ("Postman key", &["PMAK-", "[a-f0-9]{24}-[a-f0-9]{34}"]),
    ("Doppler token", &["dp", "\\.pt\\.[A-Za-z0-9]{43}"]),
    ("Tailscale key", &["tskey-auth-", "k[A-Za-z0-9]{12}CNTRL-[A-Za-z0-9]{32}"]),
    ("Fly token", &["fm2_", "[A-Za-z0-9+/]{120}"]),
    ("Supabase token", &["sbp_", "[a-f0-9]{40}"]),
    ("PlanetScale token", &["pscale_tkn_", "[A-Za-z0-9_]{43}"]),
    ("CircleCI token", &["CCIPAT_", "[A-Za-z0-9]{22}_[a-f0-9]{40}"]),
    ("SonarQube token", &["squ_", "[a-f0-9]{40}"]),
    ("age key", &["AGE-SECRET-KEY-1", "[QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L]{58}"]),
    ("Azure client secret", &["[A-Za-z0-9]{3}", "8Q~[A-Za-z0-9_~.-]{34}"]),
    ("Azure storage key", &["AccountKey=", "[A-Za-z0-9+/]{86}=="]),
    ("JSON web token", &["eyJ[A-Za-z0-9_-]{20}", "\\.eyJ[A-Za-z0-9_-]{40}\\.[A-Za-z0-9_-]{43}"]),
    ("private key", &["-----BEGIN RSA ", "PRIVATE KEY-----"]),
    ("database URL", &["postgres://app:", "[A-Za-z0-9/!%^&*]{8,20}@db\\.internal/app"]),
    ("PayPal token", &["access_token\\$production", "\\$[a-z0-9]{16}\\$[a-f0-9]{32}"]),
    ("HubSpot token", &["pat-na1-", "[a-f0-9]{8}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{12}"]),
];

const HARMLESS: &str = include_str!("scans_tell_tokens_from_settings.env");

fn generated(runner: &mut TestRunner, parts: &[&str]) -> String {
    let parts = parts
        .iter()
        .map(|part| proptest::string::string_regex(part).unwrap().new_tree(runner).unwrap().current());
    parts.collect()
}

#[test]
fn generated_tokens_of_more_than_sixty_kinds_are_found_wherever_they_are() {
    assert!(KINDS.len() >= 60);
    let mut runner = TestRunner::default();
    let directory = tempfile::tempdir().unwrap();
    let mut missed = Vec::new();
    for (kind, parts) in KINDS {
        for round in 0..8 {
            let token = generated(&mut runner, parts);
            for (name, text) in [
                (".env", format!("SETTING={token}\n")),
                ("main.py", format!("setting = \"{token}\"  # why\n")),
                ("values.yaml", format!("setting: {token}\n")),
                ("notes.md", format!("Use {token} for now.\n")),
            ] {
                let path = directory.path().join(name);
                std::fs::write(&path, text).unwrap();
                let report = Scanner::default().scan([&path]);
                if report.findings.is_empty() {
                    missed.push(format!("{kind} in {name}, round {round}: {token}"));
                }
                assert!(!format!("{report:?}").contains(&token));
            }
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}

#[test]
fn none_of_two_hundred_harmless_settings_is_flagged() {
    let settings: Vec<&str> =
        HARMLESS.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    assert!(settings.len() >= 200, "{}", settings.len());
    let directory = tempfile::tempdir().unwrap();
    for name in [".env", "application.properties"] {
        let path = directory.path().join(name);
        std::fs::write(&path, HARMLESS).unwrap();
        let report = Scanner::default().scan([&path]);
        let lines: Vec<&str> = HARMLESS.lines().collect();
        let found: Vec<String> =
            report.findings.iter().map(|f| format!("{}: {}", f.rule, lines[f.line - 1])).collect();
        assert!(found.is_empty(), "{name}: {found:#?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn identifiers_are_not_secrets(
        uuid in "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}",
        commit in "[0-9a-f]{40}",
        host in "[a-z]{3,9}-[0-9]{1,3}\\.[a-z0-9]{12}\\.(eu|us)-(west|east)-[12]\\.rds\\.amazonaws\\.com",
    ) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(".env");
        std::fs::write(&path, format!("TENANT={uuid}\nSOURCE_VERSION={commit}\nRELEASE={commit}\nDB_HOST={host}\n")).unwrap();
        let report = Scanner::default().scan([&path]);
        prop_assert!(report.findings.is_empty(), "{:?} {uuid} {commit} {host}", report.findings);
    }
}
