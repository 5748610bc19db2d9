-- A library: 20,000 books, 60,000 loans, and a routine and a trigger beside them.
SET NAMES utf8mb4;
CREATE TABLE books (
	id int PRIMARY KEY,
	title varchar(200) CHARACTER SET utf8mb4 NOT NULL,
	printed date,
	details json,
	cover blob
);
INSERT INTO books
	SELECT seq, CONCAT(ELT(1 + seq % 4, 'Der Prozeß', 'Les Misérables', '雪国', 'Мастер и Маргарита 📚'), ' ', seq),
	       CASE WHEN seq % 9 > 0 THEN DATE '1900-01-01' + INTERVAL seq DAY END,
	       JSON_OBJECT('pages', 100 + seq % 900, 'shelf', CONCAT('§', seq % 40)), UNHEX(SHA2(seq, 256))
	FROM seq_1_to_20000;
CREATE TABLE loans (
	id bigint AUTO_INCREMENT PRIMARY KEY,
	book int NOT NULL,
	reader varchar(100) CHARACTER SET utf8mb4,
	since datetime(3) NOT NULL,
	fee decimal(8, 2) NOT NULL,
	KEY of_reader (reader),
	CONSTRAINT of_book FOREIGN KEY (book) REFERENCES books (id)
);
INSERT INTO loans (book, reader, since, fee)
	SELECT 1 + seq * 7919 % 20000, CONCAT('Zoë "Ж" ', seq % 3000), '2024-01-01 00:00:00.125' + INTERVAL seq * 9 MINUTE, seq % 500 / 4
	FROM seq_1_to_60000;
CREATE VIEW overdue AS SELECT reader, COUNT(*) AS many FROM loans WHERE since < '2024-06-01' GROUP BY reader;
CREATE TRIGGER no_debt BEFORE INSERT ON loans FOR EACH ROW SET NEW.fee = GREATEST(NEW.fee, 0);
CREATE FUNCTION fine(days int) RETURNS decimal(8, 2) DETERMINISTIC RETURN days * 0.25;
