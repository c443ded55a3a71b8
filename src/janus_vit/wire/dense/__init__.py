"""Dense answers in replies: maps, boxes and key points."""
