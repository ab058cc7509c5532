"""The proof of a frontier: whole numbers, bounds, trees and the certificate."""
