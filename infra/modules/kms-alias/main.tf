# The alias is a resource apart from any key: a key can leave the configuration, and the alias stays and points to the next one.
resource "aws_kms_alias" "this" {
  name          = var.name
  target_key_id = var.target_key_id
}
