data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

locals {
  name  = coalesce(var.name, "${var.application}-${var.environment}")
  alias = coalesce(var.alias_name, "alias/${local.name}")

  tags = merge(var.tags, {
    Application = var.application
    Environment = var.environment
    Purpose     = var.purpose
  })
}

module "policies" {
  source = "../policy-docs"

  account_id         = data.aws_caller_identity.current.account_id
  partition          = data.aws_partition.current.partition
  encryption_context = var.encryption_context
  binding_keys       = var.binding_keys

  key = {
    administrators    = var.administrators
    application_roles = var.application_roles
    migrator_roles    = var.migrator_roles
    exclusive         = var.exclusive
    break_glass_roles = var.break_glass_role_arns
  }

  additional_key_statements = var.additional_policy_statements
}

# Rotation keeps every earlier backing key: values that are wrapped already keep opening, and nothing needs re-wrapping.
resource "aws_kms_key" "this" {
  # checkov:skip=CKV_AWS_227:is_enabled is false only while an incident is contained
  description              = "Wraps the data keys of ${local.name}"
  key_usage                = "ENCRYPT_DECRYPT"
  customer_master_key_spec = "SYMMETRIC_DEFAULT"
  is_enabled               = var.is_enabled
  enable_key_rotation      = true
  rotation_period_in_days  = var.rotation_period_in_days
  deletion_window_in_days  = var.deletion_window_in_days
  policy                   = module.policies.key_policy
  tags                     = local.tags
}

resource "aws_kms_alias" "this" {
  count = var.with_alias ? 1 : 0

  name          = local.alias
  target_key_id = coalesce(var.alias_target_key_id, aws_kms_key.this.key_id)
}

resource "aws_kms_alias" "more" {
  for_each = toset(var.aliases)

  name          = each.value
  target_key_id = aws_kms_key.this.key_id
}

# The alias had no count before 0.2.
moved {
  from = aws_kms_alias.this
  to   = aws_kms_alias.this[0]
}
