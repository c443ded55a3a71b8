"""Dense answers as plain values: maps, boxes, key points; needs only numpy."""
