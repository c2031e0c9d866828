environment             = "staging"
oidc_provider_arn       = "arn:aws:iam::123456789012:oidc-provider/oidc.eks.eu-central-1.amazonaws.com/id/EXAMPLE"
log_bucket_name         = "example-audit-logs"
deletion_window_in_days = 30
log_retention_days      = 180
exclusive               = true
with_config_rules       = true
runbook_base_url        = "https://git.example.com/platform/tokenseal/src/branch/main/docs/runbooks"
