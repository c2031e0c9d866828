# The key, its alias, and what keeps the key. The steps in docs/operations/keys-in-terraform.md change this file and no other.
module "key" {
  source = "../../modules/kms-key"

  application             = var.application
  environment             = var.environment
  name                    = var.name
  encryption_context      = local.encryption_context
  binding_keys            = local.binding_keys
  administrators          = var.key_administrators
  application_roles       = [module.access.application_role_arn]
  migrator_roles          = [module.access.migrator_role_arn]
  exclusive               = var.exclusive
  break_glass_role_arns   = var.break_glass_role_arns
  deletion_window_in_days = var.deletion_window_in_days
  with_alias              = false
  tags                    = var.tags
}

# A plan that would delete or replace the key fails here.
resource "terraform_data" "keep_key" {
  triggers_replace = module.key.key_arn

  lifecycle {
    prevent_destroy = true
  }
}

module "alias" {
  source = "../../modules/kms-alias"

  name          = "alias/${local.name}"
  target_key_id = module.key.key_id
}

locals {
  # The first key wraps new data keys. The others only open data keys that they wrapped.
  key_arns = [module.key.key_arn]
}

# The alias was a resource of the key's module before 0.2.
moved {
  from = module.key.aws_kms_alias.this[0]
  to   = module.alias.aws_kms_alias.this
}
