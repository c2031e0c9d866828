# A key and one role for one service account, by IAM roles for service accounts.
module "key" {
  source = "../../modules/kms-key"

  application = "vod-tender"
  environment = var.environment
}

module "access" {
  source = "../../modules/workload-access"

  application       = "vod-tender"
  environment       = var.environment
  key_arns          = [module.key.key_arn]
  oidc_provider_arn = var.oidc_provider_arn
  service_account   = "vod-tender/vod-tender"

  application_role_name = var.application_role_name
  iam_path              = var.iam_path
  permissions_boundary  = var.permissions_boundary
  max_session_duration  = var.max_session_duration
}
