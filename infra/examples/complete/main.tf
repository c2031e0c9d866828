# vod-tender on EKS: a key, roles for the application and the migration Job, its secrets, an audit trail, and alarms.
locals {
  encryption_context = {
    Application = var.application
    Purpose     = "oauth-token"
  }

  # The primary key's columns of vod-tender's table, besides table and column.
  binding_keys = ["table", "column", "provider", "channel"]
}

module "key" {
  source = "../../modules/kms-key"

  application             = var.application
  environment             = var.environment
  encryption_context      = local.encryption_context
  binding_keys            = local.binding_keys
  administrators          = var.key_administrators
  application_roles       = [module.access.application_role_arn]
  migrator_roles          = [module.access.migrator_role_arn]
  exclusive               = var.exclusive
  deletion_window_in_days = var.deletion_window_in_days
  tags                    = var.tags
}

module "access" {
  source = "../../modules/workload-access"

  application              = var.application
  environment              = var.environment
  key_arns                 = [module.key.key_arn]
  encryption_context       = local.encryption_context
  binding_keys             = local.binding_keys
  identity                 = "irsa"
  oidc_provider_arn        = var.oidc_provider_arn
  service_account          = "${var.namespace}/${var.application}"
  migrator_service_account = "${var.namespace}/token-migrator"
  tags                     = var.tags

  secrets = {
    secret_arns = module.secrets.secret_arns
    key_arn     = module.secrets.key_arn
  }
}

module "secrets" {
  source = "../../modules/secrets"

  application             = var.application
  environment             = var.environment
  reader_roles            = [module.access.application_role_arn]
  rotation_roles          = var.rotation_role_arns
  rotation_lambda_arns    = var.rotation_lambda_arns
  deletion_window_in_days = var.deletion_window_in_days
  alarm_topic_arn         = module.alarms.topic_arn
  audit_namespace         = module.audit.metric_namespace
  with_alarms             = true
  with_config_rules       = var.with_config_rules
  runbook_base_url        = var.runbook_base_url
  tags                    = var.tags

  secrets = {
    "database"        = { description = "Credentials of the token database", kind = "database" }
    "session-signing" = { description = "Signs web sessions", kind = "signing-key" }
    "twitch-oauth"    = { description = "Secret of the OAuth application at Twitch", rotation_days = 180 }
  }
}

module "audit" {
  source = "../../modules/audit-trail"

  application             = var.application
  environment             = var.environment
  bucket_name             = var.log_bucket_name
  key_arns                = [module.key.key_arn]
  auditors                = var.auditors
  log_retention_days      = var.log_retention_days
  deletion_window_in_days = var.deletion_window_in_days
  tags                    = var.tags
}

module "alarms" {
  source = "../../modules/alarms"

  application             = var.application
  environment             = var.environment
  audit_namespace         = module.audit.metric_namespace
  subscriptions           = var.subscriptions
  runbook_base_url        = var.runbook_base_url
  with_config_rules       = var.with_config_rules
  key_arns                = [module.key.key_arn]
  deletion_window_in_days = var.deletion_window_in_days
  tags                    = var.tags
}
