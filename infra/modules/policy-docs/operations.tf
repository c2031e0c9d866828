# The alarms' topic and the trail: what AWS services may do in our name, and for this account only.
locals {
  topic_statements = [
    {
      Sid       = "CloudWatchAlarms"
      Effect    = "Allow"
      Principal = { Service = "cloudwatch.amazonaws.com" }
      Action    = "sns:Publish"
      Resource  = var.topic_arn
      Condition = { StringEquals = { "aws:SourceAccount" = var.account_id } }
    },
    {
      Sid       = "EventRules"
      Effect    = "Allow"
      Principal = { Service = "events.amazonaws.com" }
      Action    = "sns:Publish"
      Resource  = var.topic_arn
      Condition = { ArnLike = { "aws:SourceArn" = "arn:${var.partition}:events:${var.region}:${var.account_id}:rule/*" } }
    },
    {
      Sid       = "OnlyOverTls"
      Effect    = "Deny"
      Principal = { AWS = "*" }
      Action    = "sns:Publish"
      Resource  = var.topic_arn
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    },
  ]

  # The services present no account here; the topic's own policy says whose alarms may be published.
  topic_key_statements = [
    local.account_statement,
    {
      Sid       = "PublishersOfTheTopic"
      Effect    = "Allow"
      Principal = { Service = ["cloudwatch.amazonaws.com", "events.amazonaws.com"] }
      Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
      Resource  = "*"
    },
  ]

  trail_arn     = var.trail == null ? "" : "arn:${var.partition}:cloudtrail:${var.region}:${var.account_id}:trail/${var.trail.name}"
  log_group_arn = var.trail == null ? "" : "arn:${var.partition}:logs:${var.region}:${var.account_id}:log-group:${var.trail.log_group}"
  bucket_arn    = var.trail == null ? "" : "arn:${var.partition}:s3:::${var.trail.bucket}"
  log_path      = var.trail == null ? "" : trimprefix("${trimsuffix(var.trail.key_prefix, "/")}/AWSLogs/${var.account_id}/*", "/")

  auditors = var.trail == null ? [] : var.trail.auditors

  trail_key_statements = concat(
    [
      local.account_statement,
      {
        Sid       = "TrailSealsItsLogs"
        Effect    = "Allow"
        Principal = { Service = "cloudtrail.amazonaws.com" }
        Action    = "kms:GenerateDataKey*"
        Resource  = "*"
        Condition = {
          StringEquals = { "aws:SourceArn" = local.trail_arn }
          StringLike   = { "kms:EncryptionContext:aws:cloudtrail:arn" = "arn:${var.partition}:cloudtrail:*:${var.account_id}:trail/*" }
        }
      },
      {
        Sid       = "TrailLooksAtItsKey"
        Effect    = "Allow"
        Principal = { Service = "cloudtrail.amazonaws.com" }
        Action    = "kms:DescribeKey"
        Resource  = "*"
        Condition = { StringEquals = { "aws:SourceArn" = local.trail_arn } }
      },
      {
        Sid       = "LogGroup"
        Effect    = "Allow"
        Principal = { Service = "logs.${var.region}.amazonaws.com" }
        Action    = ["kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"]
        Resource  = "*"
        Condition = { StringEquals = { "kms:EncryptionContext:aws:logs:arn" = local.log_group_arn } }
      },
      {
        Sid       = "LogGroupLooksAtItsKey"
        Effect    = "Allow"
        Principal = { Service = "logs.${var.region}.amazonaws.com" }
        Action    = "kms:DescribeKey"
        Resource  = "*"
      },
    ],
    [for statement in [{
      Sid       = "Auditors"
      Effect    = "Allow"
      Principal = { AWS = local.auditors }
      Action    = "kms:Decrypt"
      Resource  = "*"
      Condition = { StringLike = { "kms:EncryptionContext:aws:cloudtrail:arn" = "arn:${var.partition}:cloudtrail:*:${var.account_id}:trail/*" } }
    }] : statement if length(local.auditors) > 0],
  )

  bucket_statements = [
    {
      Sid       = "TrailLooksAtTheBucket"
      Effect    = "Allow"
      Principal = { Service = "cloudtrail.amazonaws.com" }
      Action    = "s3:GetBucketAcl"
      Resource  = local.bucket_arn
      Condition = { StringEquals = { "aws:SourceArn" = local.trail_arn } }
    },
    {
      Sid       = "TrailWritesItsLogs"
      Effect    = "Allow"
      Principal = { Service = "cloudtrail.amazonaws.com" }
      Action    = "s3:PutObject"
      Resource  = "${local.bucket_arn}/${local.log_path}"
      Condition = {
        StringEquals = {
          "aws:SourceArn" = local.trail_arn
          "s3:x-amz-acl"  = "bucket-owner-full-control"
        }
      }
    },
    {
      Sid       = "OnlyOverTls"
      Effect    = "Deny"
      Principal = { AWS = "*" }
      Action    = "s3:*"
      Resource  = [local.bucket_arn, "${local.bucket_arn}/*"]
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    },
  ]

  trail_role_trust_statements = [{
    Sid       = "Trail"
    Effect    = "Allow"
    Principal = { Service = "cloudtrail.amazonaws.com" }
    Action    = "sts:AssumeRole"
    Condition = { StringEquals = { "aws:SourceArn" = local.trail_arn } }
  }]

  trail_role_statements = [{
    Sid      = "WriteToTheLogGroup"
    Effect   = "Allow"
    Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    Resource = "${local.log_group_arn}:log-stream:${var.account_id}_CloudTrail_${var.region}*"
  }]
}
