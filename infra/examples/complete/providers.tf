provider "aws" {
  region = var.region

  # The break-glass role for the steps that only it may take; otherwise the credentials of the caller.
  dynamic "assume_role" {
    for_each = var.assume_role_arn[*]

    content {
      role_arn = assume_role.value
    }
  }
}
