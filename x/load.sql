COPY t FROM 'x/t.csv' (FORMAT 'csv', allow_quoted_nulls false, quote '"', delimiter ',', header 1);
