"""The command `reelwright`: every verb is a thin caller of one public function."""
