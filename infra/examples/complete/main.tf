# vod-tender on EKS: a key, roles for the application and the migration Job, its secrets, an audit trail, and alarms.
locals {
  name = coalesce(var.name, "${var.application}-${var.environment}")

  encryption_context = {
    Application = var.application
    Purpose     = "oauth-token"
  }

  application_role_name = coalesce(var.application_role_name, "${local.name}-application")
  migrator_role_name    = coalesce(var.migrator_role_name, "${local.name}-migrator")

  with_own_topic = length(var.topic_arns) < 2

  # The primary key's columns of vod-tender's table, besides table and column.
  binding_keys = ["table", "column", "provider", "channel"]
}

module "access" {
  source = "../../modules/workload-access"

  application              = var.application
  environment              = var.environment
  name                     = var.name
  program_environment      = var.program_environment
  key_arns                 = local.key_arns
  encryption_context       = local.encryption_context
  binding_keys             = local.binding_keys
  identity                 = "irsa"
  oidc_provider_arn        = var.oidc_provider_arn
  oidc_provider_arns       = var.oidc_provider_arns
  service_account          = "${var.namespace}/${var.application}"
  migrator_service_account = "${var.namespace}/token-migrator"
  application_role_name    = local.application_role_name
  migrator_role_name       = local.migrator_role_name
  iam_path                 = var.iam_path
  permissions_boundary     = var.permissions_boundary
  max_session_duration     = var.max_session_duration
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
  name                    = var.name
  reader_roles            = [module.access.application_role_arn]
  operator_roles          = var.secrets_operator_role_arns
  rotation_roles          = local.rotation_role_arns
  rotation_lambda_arns    = local.rotation_lambda_arns
  deletion_window_in_days = var.deletion_window_in_days
  alarm_topic_arn         = module.alarms.topic_arn
  audit_namespace         = one(module.audit[*].metric_namespace)
  with_alarms             = var.with_audit
  with_config_rules       = var.with_config_rules
  runbook_base_url        = var.runbook_base_url
  tags                    = var.tags

  secrets = {
    "database"        = { description = "Credentials of the token database", kind = "database" }
    "session-signing" = { description = "Signs web sessions", kind = "signing-key" }
    "twitch-oauth"    = { description = "Secret of the OAuth application at Twitch", rotation_days = 180 }
  }
}

# A plan that would delete or replace the secrets' key fails here.
resource "terraform_data" "keep_secrets" {
  triggers_replace = module.secrets.key_arn

  lifecycle {
    prevent_destroy = true
  }
}

module "audit" {
  source = "../../modules/audit-trail"
  count  = var.with_audit ? 1 : 0

  application             = var.application
  environment             = var.environment
  name                    = var.name
  with_trail              = var.with_trail
  trail_name              = var.trail_name
  log_group_name          = var.trail_log_group_name
  bucket_name             = var.log_bucket_name
  bucket_key_prefix       = var.log_bucket_key_prefix
  key_arns                = concat(local.key_arns, var.other_region_key_arns)
  watched_key_arns        = concat([module.secrets.key_arn], local.with_own_topic ? [module.alarms.topic_key_arn] : [])
  topic_arns              = local.with_own_topic ? null : values(var.topic_arns)
  role_names              = [local.application_role_name, local.migrator_role_name]
  auditors                = var.auditors
  log_retention_days      = var.log_retention_days
  trail_role_name         = var.trail_role_name
  iam_path                = var.iam_path
  permissions_boundary    = var.permissions_boundary
  max_session_duration    = var.max_session_duration
  deletion_window_in_days = var.deletion_window_in_days
  tags                    = var.tags
}

module "alarms" {
  source = "../../modules/alarms"

  application             = var.application
  environment             = var.environment
  name                    = var.name
  audit_namespace         = one(module.audit[*].metric_namespace)
  with_audit_alarms       = var.with_audit
  topic_arns              = var.topic_arns
  alarms                  = var.alarms
  subscriptions           = var.subscriptions
  runbook_base_url        = var.runbook_base_url
  with_config_rules       = var.with_config_rules
  key_arns                = local.key_arns
  deletion_window_in_days = var.deletion_window_in_days
  tags                    = var.tags
}

# The audit trail had no switch before 0.2.
moved {
  from = module.audit
  to   = module.audit[0]
}
