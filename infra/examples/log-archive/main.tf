# The bucket for audit trails' logs, in an account of its own: an intruder in the application's account cannot delete them.
module "bucket" {
  source = "../../modules/log-bucket"

  bucket_name      = var.bucket_name
  trails           = [for name in var.trail_names : { name = name, account_id = var.trail_account_id, region = var.region }]
  retention_days   = var.retention_days
  object_lock_days = var.object_lock_days
}
