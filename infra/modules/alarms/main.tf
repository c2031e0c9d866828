data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  name      = "${var.application}-${var.environment}"
  topic     = "${local.name}-alarms"
  topic_arn = "arn:${data.aws_partition.current.partition}:sns:${data.aws_region.current.id}:${data.aws_caller_identity.current.account_id}:${local.topic}"

  # What the programs write in CloudWatch's embedded metric format.
  emf_namespace  = "Tokenseal"
  emf_dimensions = { Application = var.application, Environment = var.environment }

  tags = merge(var.tags, {
    Application = var.application
    Environment = var.environment
    Purpose     = "alarms"
  })
}

module "policies" {
  source = "../policy-docs"

  account_id = data.aws_caller_identity.current.account_id
  partition  = data.aws_partition.current.partition
  region     = data.aws_region.current.id
  topic_arn  = local.topic_arn
}

# A key of its own: CloudWatch may not use AWS's own key for SNS, and its alarms would be lost without a word.
resource "aws_kms_key" "topic" {
  description             = "Seals the alarms of ${local.name}"
  enable_key_rotation     = true
  deletion_window_in_days = var.deletion_window_in_days
  policy                  = module.policies.topic_key_policy
  tags                    = local.tags
}

resource "aws_kms_alias" "topic" {
  name          = "alias/${local.topic}"
  target_key_id = aws_kms_key.topic.key_id
}

resource "aws_sns_topic" "alarms" {
  name              = local.topic
  kms_master_key_id = aws_kms_key.topic.arn
  tags              = local.tags
}

resource "aws_sns_topic_policy" "alarms" {
  arn    = aws_sns_topic.alarms.arn
  policy = module.policies.topic_policy
}

resource "aws_sns_topic_subscription" "alarms" {
  for_each = var.subscriptions

  topic_arn = aws_sns_topic.alarms.arn
  protocol  = each.value.protocol
  endpoint  = each.value.endpoint
}
