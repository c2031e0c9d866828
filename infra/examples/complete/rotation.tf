# The function that rotates the database's credentials: this repository's image, whose manage-secrets speaks the Lambda runtime
# protocol. It alternates between two users, so that a login with the previous credentials still works.
locals {
  with_rotation = var.rotation_image_uri != null

  rotation_lambda_arns = merge(
    var.rotation_lambda_arns,
    local.with_rotation ? { database = aws_lambda_function.rotation[0].arn } : {},
  )

  rotation_role_arns = concat(var.rotation_role_arns, aws_iam_role.rotation[*].arn)
}

data "aws_partition" "current" {}

resource "aws_iam_role" "rotation" {
  count = local.with_rotation ? 1 : 0

  name                 = "${local.name}-rotation"
  path                 = var.iam_path
  permissions_boundary = var.permissions_boundary
  tags                 = var.tags

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "lambda.amazonaws.com" }
    }]
  })
}

resource "aws_iam_role_policy" "rotation" {
  count = local.with_rotation ? 1 : 0

  name   = "rotate-secrets"
  role   = aws_iam_role.rotation[0].id
  policy = module.secrets.rotation_function_policy
}

# Only the function reads it: the administrator's password allows setting every other.
resource "aws_iam_role_policy" "rotation_administrator" {
  count = local.with_rotation ? 1 : 0

  name = "read-administrator"
  role = aws_iam_role.rotation[0].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "ReadTheAdministrator"
        Effect   = "Allow"
        Action   = ["secretsmanager:GetSecretValue"]
        Resource = var.rotation_administrator.secret_arn
      },
      {
        Sid      = "OpenIt"
        Effect   = "Allow"
        Action   = ["kms:Decrypt"]
        Resource = var.rotation_administrator.key_arn
        Condition = {
          StringEquals = { "kms:EncryptionContext:SecretARN" = var.rotation_administrator.secret_arn }
        }
      },
    ]
  })
}

resource "aws_iam_role_policy_attachment" "rotation" {
  count = local.with_rotation ? 1 : 0

  role       = aws_iam_role.rotation[0].name
  policy_arn = "arn:${data.aws_partition.current.partition}:iam::aws:policy/service-role/AWSLambdaVPCAccessExecutionRole"
}

resource "aws_lambda_function" "rotation" {
  # checkov:skip=CKV_AWS_50:each step is one short run, and its log names what failed
  # checkov:skip=CKV_AWS_115:Secrets Manager runs one step of a secret at a time
  # checkov:skip=CKV_AWS_116:Secrets Manager repeats a failed step; the alarm SecretsRotationFailed reports it
  # checkov:skip=CKV_AWS_173:the variables hold no secret
  # checkov:skip=CKV_AWS_272:images are pinned by digest
  count = local.with_rotation ? 1 : 0

  function_name = "${local.name}-rotate-database"
  description   = "Rotates the credentials in the secret database"
  role          = aws_iam_role.rotation[0].arn
  package_type  = "Image"
  image_uri     = var.rotation_image_uri
  timeout       = 60
  memory_size   = 128
  tags          = var.tags

  image_config {
    entry_point = ["/usr/local/bin/manage-secrets"]
    command     = ["rotation-function", "--log-level", "info"]
  }

  environment {
    variables = { ENVIRONMENT = coalesce(var.program_environment, var.environment) }
  }

  vpc_config {
    subnet_ids         = var.rotation_network.subnet_ids
    security_group_ids = var.rotation_network.security_group_ids
  }
}
