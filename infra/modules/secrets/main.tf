data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  name   = coalesce(var.name, "${var.application}-${var.environment}")
  prefix = coalesce(var.prefix, "${var.application}/${var.environment}/")

  runbooks = coalesce(var.runbook_base_url, "docs/runbooks")

  kind_days     = { database = 30, signing-key = 90, other = null }
  rotation_days = { for name, secret in var.secrets : name => secret.rotation_days != null ? secret.rotation_days : local.kind_days[secret.kind] }

  # One watch for each distinct schedule.
  watched_schedules = toset([for days in values(local.rotation_days) : tostring(days) if days != null && var.with_config_rules])

  tags = merge(var.tags, {
    Application = var.application
    Environment = var.environment
    Purpose     = "secrets"
  })
}

module "policies" {
  source = "../policy-docs"

  account_id = data.aws_caller_identity.current.account_id
  partition  = data.aws_partition.current.partition
  region     = data.aws_region.current.id

  secrets = length(var.secrets) == 0 ? null : {
    secret_arns    = values(aws_secretsmanager_secret.this)[*].arn
    key_arn        = aws_kms_key.secrets.arn
    reader_roles   = var.reader_roles
    operator_roles = var.operator_roles
    rotation_roles = var.rotation_roles
    exclusive      = var.exclusive
  }

  additional_secret_statements = var.additional_policy_statements
}

# The key's policy is a document of its own: those above name the key.
module "key_policy" {
  source = "../policy-docs"

  account_id = data.aws_caller_identity.current.account_id
  partition  = data.aws_partition.current.partition
  region     = data.aws_region.current.id

  secrets_key = {
    reader_roles = var.reader_roles
    writer_roles = concat(var.operator_roles, var.rotation_roles)
  }
}

# Operators also make secrets that Terraform does not know: everything under the prefix.
module "operator_policies" {
  source = "../policy-docs"

  account_id = data.aws_caller_identity.current.account_id
  partition  = data.aws_partition.current.partition
  region     = data.aws_region.current.id

  secrets = {
    secret_arns = ["arn:${data.aws_partition.current.partition}:secretsmanager:${data.aws_region.current.id}:${data.aws_caller_identity.current.account_id}:secret:${local.prefix}*"]
    key_arn     = aws_kms_key.secrets.arn
  }
}

resource "aws_kms_key" "secrets" {
  description             = "Seals the secrets of ${local.name}"
  enable_key_rotation     = true
  deletion_window_in_days = var.deletion_window_in_days
  policy                  = module.key_policy.secrets_key_policy
  tags                    = local.tags
}

resource "aws_kms_alias" "secrets" {
  name          = "alias/${local.name}-secrets"
  target_key_id = aws_kms_key.secrets.key_id
}

resource "aws_secretsmanager_secret" "this" {
  for_each = var.secrets

  name                    = "${local.prefix}${each.key}"
  description             = each.value.description
  kms_key_id              = aws_kms_key.secrets.arn
  recovery_window_in_days = var.recovery_window_in_days

  tags = merge(local.tags, { Kind = each.value.kind })
}

resource "aws_secretsmanager_secret_policy" "this" {
  for_each = var.secrets

  secret_arn          = aws_secretsmanager_secret.this[each.key].arn
  policy              = module.policies.secret_resource_policy
  block_public_policy = true
}
