# One key in two Regions: data keys wrapped in one open in the other.
module "primary" {
  source = "../../modules/kms-key-multi-region"

  application             = "vod-tender"
  environment             = var.environment
  multi_region            = true
  rotation_period_in_days = 180
  replica_regions         = [var.primary_region, var.replica_region]
}

# A plan that would delete or replace either key fails here.
resource "terraform_data" "keep_keys" {
  triggers_replace = [module.primary.key_arn, module.replica.key_arn]

  lifecycle {
    prevent_destroy = true
  }
}

module "replica" {
  source = "../../modules/kms-replica"

  providers = {
    aws = aws.replica
  }

  application     = "vod-tender"
  environment     = var.environment
  primary_key_arn = module.primary.key_arn
}

module "access" {
  source = "../../modules/workload-access"

  application       = "vod-tender"
  environment       = var.environment
  key_arns          = [module.primary.key_arn]
  replica_key_arns  = [module.replica.key_arn]
  oidc_provider_arn = var.oidc_provider_arn
  service_account   = "vod-tender/vod-tender"

  application_role_name = var.application_role_name
  iam_path              = var.iam_path
  permissions_boundary  = var.permissions_boundary
  max_session_duration  = var.max_session_duration
}
