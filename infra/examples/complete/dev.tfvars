environment             = "development"
oidc_provider_arn       = "arn:aws:iam::123456789012:oidc-provider/oidc.eks.eu-central-1.amazonaws.com/id/EXAMPLE"
log_bucket_name         = "example-audit-logs"
deletion_window_in_days = 7
log_retention_days      = 90
exclusive               = false
with_config_rules       = false
runbook_base_url        = "https://git.example.com/platform/tokenseal/src/branch/main/docs/runbooks"
