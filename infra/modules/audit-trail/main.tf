data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  name             = "${var.application}-${var.environment}"
  trail            = "${local.name}-audit"
  log_group        = "/aws/cloudtrail/${local.trail}"
  metric_namespace = "Tokenseal/Audit/${local.name}"

  tags = merge(var.tags, {
    Application = var.application
    Environment = var.environment
    Purpose     = "audit"
  })
}

module "policies" {
  source = "../policy-docs"

  account_id = data.aws_caller_identity.current.account_id
  partition  = data.aws_partition.current.partition
  region     = data.aws_region.current.id

  trail = {
    name      = local.trail
    log_group = local.log_group
    bucket    = var.bucket_name
    auditors  = var.auditors
  }
}

module "patterns" {
  source = "../audit-patterns"

  key_arns = var.key_arns
}

resource "aws_kms_key" "trail" {
  description             = "Seals the audit trail of ${local.name}"
  enable_key_rotation     = true
  deletion_window_in_days = var.deletion_window_in_days
  policy                  = module.policies.trail_key_policy
  tags                    = local.tags
}

resource "aws_kms_alias" "trail" {
  name          = "alias/${local.trail}"
  target_key_id = aws_kms_key.trail.key_id
}

resource "aws_cloudwatch_log_group" "trail" {
  name              = local.log_group
  retention_in_days = var.log_retention_days
  kms_key_id        = aws_kms_key.trail.arn
  tags              = local.tags
}

resource "aws_iam_role" "trail" {
  name               = local.trail
  description        = "Lets the trail write to its log group"
  assume_role_policy = module.policies.trail_role_trust
  tags               = local.tags
}

resource "aws_iam_role_policy" "trail" {
  name   = "write-to-log-group"
  role   = aws_iam_role.trail.id
  policy = module.policies.trail_role_policy
}

# No event selector: CloudTrail's default is all reads and writes of the management plane with nothing excluded, KMS's
# Decrypt and GenerateDataKey among them. Selectors that somebody puts there show up in the next plan, which takes them away.
resource "aws_cloudtrail" "this" {
  # checkov:skip=CKV_AWS_252:the alarms read the log group; a notification for each log file would tell nobody anything
  name                          = local.trail
  s3_bucket_name                = var.bucket_name
  kms_key_id                    = aws_kms_key.trail.arn
  cloud_watch_logs_group_arn    = "${aws_cloudwatch_log_group.trail.arn}:*"
  cloud_watch_logs_role_arn     = aws_iam_role.trail.arn
  is_multi_region_trail         = true
  include_global_service_events = true
  enable_log_file_validation    = true
  tags                          = local.tags

  depends_on = [aws_iam_role_policy.trail]
}

resource "aws_cloudwatch_log_metric_filter" "this" {
  for_each = module.patterns.filters

  name           = "${local.name}-${each.key}"
  log_group_name = aws_cloudwatch_log_group.trail.name
  pattern        = each.value.pattern

  metric_transformation {
    name          = each.key
    namespace     = local.metric_namespace
    value         = "1"
    default_value = "0"
  }
}
