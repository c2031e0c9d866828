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
        Principal = { Service = local.logs_principal }
        Action    = ["kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"]
        Resource  = "*"
        Condition = { StringEquals = { "kms:EncryptionContext:aws:logs:arn" = local.log_group_arn } }
      },
      {
        Sid       = "LogGroupLooksAtItsKey"
        Effect    = "Allow"
        Principal = { Service = local.logs_principal }
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

  # The trails that may write into the bucket: those listed, or this one.
  bucket_trails = length(var.bucket_trails) > 0 ? var.bucket_trails : [for trail in var.trail[*] : {
    name = trail.name, account_id = var.account_id, region = var.region, key_prefix = trail.key_prefix, organization_id = trail.organization_id,
  }]

  # An organisation's trail writes below the organisation's id as well as below its own account's.
  bucket_writers = [for trail in local.bucket_trails : {
    arn = "arn:${var.partition}:cloudtrail:${trail.region}:${trail.account_id}:trail/${trail.name}"
    paths = [for owner in concat([trail.account_id], trail.organization_id[*]) :
      "${local.bucket_arn}/${trimprefix("${trimsuffix(trail.key_prefix, "/")}/AWSLogs/${owner}/*", "/")}"
    ]
  }]

  bucket_statements = concat(
    [{
      Sid       = "TrailLooksAtTheBucket"
      Effect    = "Allow"
      Principal = { Service = "cloudtrail.amazonaws.com" }
      Action    = "s3:GetBucketAcl"
      Resource  = local.bucket_arn
      Condition = { StringEquals = { "aws:SourceArn" = try(one(local.bucket_writers[*].arn), local.bucket_writers[*].arn) } }
    }],
    [for index, writer in local.bucket_writers : {
      Sid       = "TrailWritesItsLogs${index == 0 ? "" : index + 1}"
      Effect    = "Allow"
      Principal = { Service = "cloudtrail.amazonaws.com" }
      Action    = "s3:PutObject"
      Resource  = try(one(writer.paths), writer.paths)
      Condition = {
        StringEquals = {
          "aws:SourceArn" = writer.arn
          "s3:x-amz-acl"  = "bucket-owner-full-control"
        }
      }
    }],
    [{
      Sid       = "OnlyOverTls"
      Effect    = "Deny"
      Principal = { AWS = "*" }
      Action    = "s3:*"
      Resource  = [local.bucket_arn, "${local.bucket_arn}/*"]
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }],
    var.additional_bucket_statements,
  )

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
