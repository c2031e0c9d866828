data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

locals {
  name  = "${var.application}-${var.environment}"
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
  }
}

# Rotation keeps every earlier backing key: what is wrapped already keeps opening, and nothing needs re-wrapping.
resource "aws_kms_key" "this" {
  description              = "Wraps the data keys of ${local.name}"
  key_usage                = "ENCRYPT_DECRYPT"
  customer_master_key_spec = "SYMMETRIC_DEFAULT"
  enable_key_rotation      = true
  deletion_window_in_days  = var.deletion_window_in_days
  policy                   = module.policies.key_policy
  tags                     = local.tags
}

resource "aws_kms_alias" "this" {
  name          = local.alias
  target_key_id = aws_kms_key.this.key_id
}
