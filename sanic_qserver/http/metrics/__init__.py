"""What is measured: counted by each worker, added up by whichever answers, told in the words of Prometheus."""
