data "aws_partition" "current" {}

locals {
  single = var.trail_name == null ? [] : [{
    name = var.trail_name, account_id = var.trail_account_id, region = var.trail_region, key_prefix = "", organization_id = null,
  }]
  trails = concat(local.single, var.trails)
}

module "policies" {
  source = "../policy-docs"

  account_id    = local.trails[0].account_id
  partition     = data.aws_partition.current.partition
  region        = local.trails[0].region
  bucket_trails = local.trails

  trail = {
    name   = local.trails[0].name
    bucket = var.bucket_name
  }

  additional_bucket_statements = var.additional_policy_statements
}

resource "aws_s3_bucket" "this" {
  # checkov:skip=CKV2_AWS_62:no consumer waits for single log files
  # checkov:skip=CKV_AWS_18:an access log of the log bucket needs a second log bucket; the trail records changes to this one
  # checkov:skip=CKV_AWS_144:one Region is enough for logs of a multi-Region trail; add replication where your rules ask for it
  bucket              = var.bucket_name
  object_lock_enabled = var.object_lock_days > 0
  tags                = var.tags
}

resource "aws_s3_bucket_public_access_block" "this" {
  bucket = aws_s3_bucket.this.id

  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "this" {
  bucket = aws_s3_bucket.this.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_versioning" "this" {
  bucket = aws_s3_bucket.this.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "this" {
  bucket = aws_s3_bucket.this.id

  rule {
    bucket_key_enabled = var.key_arn != null

    apply_server_side_encryption_by_default {
      sse_algorithm     = var.key_arn == null ? "AES256" : "aws:kms"
      kms_master_key_id = var.key_arn
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "this" {
  bucket = aws_s3_bucket.this.id

  rule {
    id     = "retention"
    status = "Enabled"

    filter {}

    expiration {
      days = var.retention_days
    }

    noncurrent_version_expiration {
      noncurrent_days = var.retention_days
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }

  depends_on = [aws_s3_bucket_versioning.this]
}

resource "aws_s3_bucket_object_lock_configuration" "this" {
  count = var.object_lock_days > 0 ? 1 : 0

  bucket = aws_s3_bucket.this.id

  rule {
    default_retention {
      mode = "COMPLIANCE"
      days = var.object_lock_days
    }
  }

  depends_on = [aws_s3_bucket_versioning.this]
}

resource "aws_s3_bucket_policy" "this" {
  bucket = aws_s3_bucket.this.id
  policy = module.policies.trail_bucket_policy

  depends_on = [aws_s3_bucket_public_access_block.this]
}
