# Resources that a pipeline needs before it can plan and apply the other examples: a bucket for Terraform's state, an identity provider
# for the pipeline's tokens, a role that only plans, and a role that applies.
data "aws_partition" "current" {}

locals {
  issuer     = trimprefix(var.issuer_url, "https://")
  bucket_arn = "arn:${data.aws_partition.current.partition}:s3:::${var.state_bucket_name}"

  roles = {
    plan  = { subjects = var.plan_subjects, managed = "ReadOnlyAccess" }
    apply = { subjects = var.apply_subjects, managed = "AdministratorAccess" }
  }

  # A plan reads the state and no lock: it runs with -lock=false. An apply also writes it, and its lock file next to it.
  state_actions = { plan = ["s3:GetObject"], apply = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"] }
}

resource "aws_s3_bucket" "state" {
  # checkov:skip=CKV2_AWS_62:no consumer waits for changes of the state
  # checkov:skip=CKV_AWS_18:CloudTrail's data events record who reads the state, where your rules ask for it
  # checkov:skip=CKV_AWS_144:the state can be made again from the resources; add replication where your rules ask for it
  # checkov:skip=CKV_AWS_145:the state holds names and policies, no values of secrets; S3's own key encrypts it
  bucket = var.state_bucket_name
}

resource "aws_s3_bucket_public_access_block" "state" {
  bucket = aws_s3_bucket.state.id

  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_versioning" "state" {
  bucket = aws_s3_bucket.state.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "state" {
  bucket = aws_s3_bucket.state.id

  rule {
    id     = "former-states"
    status = "Enabled"

    filter {}

    noncurrent_version_expiration {
      noncurrent_days = 400
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }

  depends_on = [aws_s3_bucket_versioning.state]
}

# A plan that would delete the state's bucket fails here.
resource "terraform_data" "keep_state" {
  triggers_replace = aws_s3_bucket.state.arn

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_iam_openid_connect_provider" "pipeline" {
  url            = var.issuer_url
  client_id_list = ["sts.amazonaws.com"]
}

resource "aws_iam_role" "this" {
  for_each = local.roles

  name                 = "${var.role_prefix}-${each.key}"
  path                 = var.iam_path
  permissions_boundary = var.permissions_boundary
  max_session_duration = var.max_session_duration

  # Whole subjects, compared by equality: a wildcard would let every branch, or every repository, take the role.
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "Pipeline"
      Effect    = "Allow"
      Principal = { Federated = aws_iam_openid_connect_provider.pipeline.arn }
      Action    = "sts:AssumeRoleWithWebIdentity"
      Condition = {
        StringEquals = {
          "${local.issuer}:aud" = "sts.amazonaws.com"
          "${local.issuer}:sub" = each.value.subjects
        }
      }
    }]
  })
}

resource "aws_iam_role_policy_attachment" "this" {
  # checkov:skip=CKV_AWS_274:the apply role makes roles and keys; narrow it by permissions_boundary
  for_each = local.roles

  role       = aws_iam_role.this[each.key].name
  policy_arn = "arn:${data.aws_partition.current.partition}:iam::aws:policy/${each.value.managed}"
}

resource "aws_iam_role_policy" "this" {
  for_each = local.roles

  name = "state"
  role = aws_iam_role.this[each.key].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "FindState"
        Effect   = "Allow"
        Action   = ["s3:ListBucket"]
        Resource = local.bucket_arn
      },
      {
        Sid      = "State"
        Effect   = "Allow"
        Action   = local.state_actions[each.key]
        Resource = "${local.bucket_arn}/*"
      },
      {
        # Terraform needs neither a secret's value nor a data key. A pull request must not read them.
        Sid      = "NoValues"
        Effect   = "Deny"
        Action   = ["kms:Decrypt", "kms:GenerateDataKey", "kms:ReEncryptFrom", "secretsmanager:GetSecretValue"]
        Resource = "*"
      },
    ]
  })
}
