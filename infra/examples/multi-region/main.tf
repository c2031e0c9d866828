# One key in two Regions: what is wrapped in one opens in the other.
module "primary" {
  source = "../../modules/kms-key-multi-region"

  application             = "vod-tender"
  environment             = var.environment
  rotation_period_in_days = 180
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
}
