# A key and one role for one service account, by EKS Pod Identity: no OIDC provider, and no annotation.
module "key" {
  source = "../../modules/kms-key"

  application = "vod-tender"
  environment = var.environment
}

module "access" {
  source = "../../modules/workload-access"

  application     = "vod-tender"
  environment     = var.environment
  key_arns        = [module.key.key_arn]
  identity        = "pod-identity"
  cluster_arn     = var.cluster_arn
  service_account = "vod-tender/vod-tender"

  application_role_name = var.application_role_name
  iam_path              = var.iam_path
  permissions_boundary  = var.permissions_boundary
  max_session_duration  = var.max_session_duration
}

module "association" {
  source = "../../modules/pod-identity-association"

  cluster_name    = var.cluster_name
  service_account = "vod-tender/vod-tender"
  role_arn        = module.access.application_role_arn
}
