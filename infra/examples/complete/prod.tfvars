environment             = "production"
oidc_provider_arn       = "arn:aws:iam::123456789012:oidc-provider/oidc.eks.eu-central-1.amazonaws.com/id/EXAMPLE"
log_bucket_name         = "example-audit-logs"
deletion_window_in_days = 30
log_retention_days      = 365
exclusive               = true
with_config_rules       = true
key_administrators      = ["arn:aws:iam::123456789012:role/key-administrator"]
