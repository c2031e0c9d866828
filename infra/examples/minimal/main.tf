# A key, its alias, and a policy to attach to the role that the application already has.
module "key" {
  source = "../../modules/kms-key"

  application = "vod-tender"
  environment = var.environment
}

data "aws_caller_identity" "current" {}

module "policies" {
  source = "../../modules/policy-docs"

  account_id = data.aws_caller_identity.current.account_id
  region     = var.region

  use = { key_arns = [module.key.key_arn] }
}

resource "aws_iam_policy" "application" {
  name        = coalesce(var.policy_name, "vod-tender-${var.environment}-use-data-keys")
  path        = var.iam_path
  description = "Seals and opens vod-tender's tokens"
  policy      = module.policies.application_policy
}
